"""Whether two versions can answer from the same replicas: they are asked the same questions."""

from ray_mlops.errors import EndpointError
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.platform.bundle import Bundle
from ray_mlops.vision.predictor import TRANSFORM


def check(champion: Bundle, challenger: Bundle) -> None:
    """Raises `EndpointError` where a challenger cannot be tried out beside a champion.

    An event is observed once, by the champion's store, from which both take their features: the challenger may have other
    inputs, encodings and fewer windows, but none that this store does not keep.
    """
    kinds = ["images" if bundle.has(TRANSFORM) else "transactions" for bundle in (champion, challenger)]
    if kinds[0] != kinds[1]:
        raise _unfit(f"it is a model of {kinds[1]} and the endpoint answers for {kinds[0]}")
    if kinds[0] == "images":
        before, now = champion.json("classes.json"), challenger.json("classes.json")
        if before != now:
            raise _unfit(f"it knows the classes {', '.join(now)}, and the champion {', '.join(before)}")
        return
    before, now = (
        FeatureDefinition.model_validate(bundle.json("definition.json")) for bundle in (champion, challenger)
    )
    if before.data != now.data:
        raise _unfit("it reads other columns of a transaction")
    if missing := [window for window in now.windows if window not in before.windows]:
        names = ", ".join(missing[0].names()[:3])
        raise _unfit(f"the champion's entity store does not keep its windows {names}, …")


def _unfit(reason: str) -> EndpointError:
    return EndpointError(
        f"this version cannot be tried out beside the champion: {reason}. Deploy it with --all-at-once, which rolls the "
        "replicas over and fills its own store first"
    )
