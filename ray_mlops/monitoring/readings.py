"""What a monitor reads off one window of time."""

from collections.abc import Mapping
from typing import Literal

from ray_mlops.contract import Frozen

Monitor = Literal["data quality", "data drift", "model quality", "attribution drift", "bias drift", "operation"]


class Reading(Frozen):
    """One comparison with the baseline. `effect` is what matters of it and `limit` how much of that is too much; `chance` is
    the probability of a difference as large when nothing has changed. `measures` are further figures."""

    monitor: Monitor
    name: str
    rows: int
    effect: float
    limit: float
    chance: float
    words: str
    measures: Mapping[str, float] = {}

    @property
    def key(self) -> str:
        """What the same comparison is called in every window."""
        return f"{self.monitor}: {self.name}"

    @property
    def certain(self) -> bool:
        """Whether it was counted, and not estimated from a sample."""
        return self.monitor == "operation"

    @property
    def exceeds(self) -> bool:
        """Whether the effect is too large."""
        return self.effect > self.limit
