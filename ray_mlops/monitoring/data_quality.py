"""Is what comes in sound? Missing values, values outside the range and categories that training did not have, requests that
were refused (a wrong type, a field that is missing or unknown), and answers that had to be given without the model."""

from collections.abc import Iterator

from ray_mlops.monitoring import chance
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.readings import Reading
from ray_mlops.monitoring.sketches import Sketch

Part = tuple[int, int]  # cases, and the rows that they are of
MISSING, OUTSIDE, UNSEEN = (
    " missing",
    " out of range",
    " unseen category",
)  # what follows the name of a feature or column
REFUSED, UNANSWERED = "requests refused", "answers without the model"


def compare(before: Baseline, sketch: Sketch, limit: float) -> Iterator[Reading]:
    """Shares of unsound values against the baseline; `limit` is the largest rise of a share that does not matter."""
    now = sketch.to_baseline()
    for name, known in before.features.items():
        seen = now.features[name]
        yield _share(f"{name}{MISSING}", (seen.missing, seen.rows), (known.missing, known.rows), limit)
        yield _share(f"{name}{OUTSIDE}", (seen.outside, seen.rows), (known.outside, known.rows), limit)
    for name, values in before.inputs.items():
        seen, rows, earlier = now.inputs[name], sum(now.inputs[name].cells), sum(values.cells)
        yield _share(f"{name}{MISSING}", (seen.missing, rows), (values.missing, earlier), limit)
        yield _share(f"{name}{UNSEEN}", (seen.other, rows), (values.other, earlier), limit)
    trained = before.score.rows
    for name, cases in ((REFUSED, sketch.refused), (UNANSWERED, sketch.degraded)):
        yield _share(name, (cases, cases + sketch.requests), (0, trained), limit)


def _share(name: str, now: Part, before: Part, limit: float) -> Reading:
    share, earlier = now[0] / max(now[1], 1), before[0] / max(before[1], 1)
    return Reading(
        monitor="data quality",
        name=name,
        rows=now[1],
        effect=share - earlier,
        limit=limit,
        chance=chance.more_often(now, before),
        words=f"{share:.1%} of {now[1]:,}, {earlier:.1%} in training",
        measures={"share": share, "before": earlier},
    )
