"""How many replicas an endpoint needs: for the requests it is answering, for how long answers take, and for the hour.

Serve asks `Policy` in its controller, holds what it says for the delays of the config, and within its bounds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from ray_mlops.contract import Frozen

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ONGOING = "ongoing"  # of a replica's own stats: what Serve does not count
_CALM = 0.6  # of the target latency: as many replicas stay above it, fewer may do below
_MOST_AT_ONCE = 2.0  # times as many replicas, however late answers are: more have to start first


class Scheduled(Frozen):
    """At least `min_replicas` from `start` to `end` in the time zone `timezone`, on these days; past midnight where `end`
    is not after `start`, on the day on which it starts."""

    min_replicas: int = Field(ge=1)
    start: time
    end: time
    days: tuple[Day, ...] = DAYS
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{name!r} is no time zone; write one like Europe/Berlin") from None
        return name

    def covers(self, now: datetime) -> bool:
        """Whether an aware moment is in the window."""
        local = now.astimezone(ZoneInfo(self.timezone))
        at, day = local.time(), DAYS[local.weekday()]
        if self.start < self.end:
            return day in self.days and self.start <= at < self.end
        yesterday = DAYS[(local - timedelta(days=1)).weekday()]
        return (day in self.days and at >= self.start) or (yesterday in self.days and at < self.end)


class Seen(Frozen):
    """What is known of an endpoint: its `replicas`, the requests that are `ongoing` or queued, how long the latest answers took
    (0: there were none), and how many requests for later are `waiting`."""

    replicas: int
    ongoing: float
    p95_ms: float = 0.0
    waiting: float = 0.0


class Policy:
    """Decides by the largest of: `ongoing` / `target_ongoing`, what brings `p95_ms` to `target_latency_ms`, the `schedule`,
    and one replica while requests wait for later."""

    def __init__(
        self, target_ongoing: float, target_latency_ms: float | None = None, schedule: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self._target_ongoing, self._target_ms = target_ongoing, target_latency_ms
        self._schedule = tuple(Scheduled.model_validate(window) for window in schedule)

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """What Serve calls, with its `AutoscalingContext`; it keeps no state of ours."""
        metrics = context.aggregated_metrics or {}
        seen = Seen(
            replicas=context.current_num_replicas,
            ongoing=context.total_num_requests + sum(metrics.get(ONGOING, {}).values()),
            p95_ms=_median(metrics.get("p95_ms", {}).values()),
            waiting=max(metrics.get("waiting", {}).values(), default=0.0),
        )
        return self.replicas(seen, datetime.now(UTC)), {}

    def replicas(self, seen: Seen, now: datetime) -> float:
        """How many there should be at a moment."""
        wanted = [seen.ongoing / self._target_ongoing, 1.0 if seen.waiting else 0.0]
        wanted += [float(window.min_replicas) for window in self._schedule if window.covers(now)]
        # Not only while some are ongoing: of short ones, however many, Serve often sees none at the moment it counts.
        if self._target_ms:
            wanted.append(self._for_latency(seen, self._target_ms))
        return max(wanted)

    def _for_latency(self, seen: Seen, target_ms: float) -> float:
        if seen.p95_ms > target_ms:
            return float(math.ceil(seen.replicas * min(_MOST_AT_ONCE, seen.p95_ms / target_ms)))
        return float(seen.replicas) if seen.p95_ms > _CALM * target_ms else 0.0


def _median(values: Iterable[float]) -> float:
    """Of the replicas that have answered: one that is slow alone is not helped by more of them."""
    answered: Sequence[float] = sorted(value for value in values if value > 0)
    return answered[len(answered) // 2] if answered else 0.0
