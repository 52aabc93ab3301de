"""Sizes of endpoints that somebody has approved beforehand, and which of them a rate needs."""

import math
from collections.abc import Mapping

from pydantic import Field, model_validator

from ray_mlops.contract import Frozen


class Size(Frozen):
    """Between `min_replicas` and `max_replicas`, each with `cpus` reserved in Ray."""

    cpus: float = Field(default=1.0, ge=0)
    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Size":
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self


SIZES: Mapping[str, Size] = {
    "small": Size(max_replicas=1),
    "medium": Size(max_replicas=4),
    "large": Size(min_replicas=2, max_replicas=16),
}


class Recommendation(Frozen):
    """What `rate` requests a second need: `replicas`, and the smallest size with as many, None where none has.

    `target_ongoing` is how many requests a replica answers at once at that load, for `deploy.scale.target_ongoing`.
    """

    rate: float
    replicas: int
    per_replica: float
    size: str | None
    target_ongoing: float


def recommend(
    rate: float, held: float, mean_s: float, sizes: Mapping[str, Size], *, headroom: float = 0.2
) -> Recommendation:
    """The size for `rate` requests a second where one replica held `held` of them, each in `mean_s` on average.

    A share `headroom` of each replica stays free, for what arrives at the same moment and while one is replaced.
    Replicas are taken to answer independently of one another: each has a core of its own, and the store keeps up.
    """
    per_replica = held * (1 - headroom)
    replicas = max(1, math.ceil(rate / per_replica))
    fitting = [(size.max_replicas, size.cpus, name) for name, size in sizes.items() if size.max_replicas >= replicas]
    return Recommendation(
        rate=rate,
        replicas=replicas,
        per_replica=per_replica,
        size=min(fitting)[2] if fitting else None,
        target_ongoing=max(1.0, round(per_replica * mean_s, 1)),
    )
