"""Point-in-time windows over the events of an entity: what they mean, and their value for one event.

      old edge                      delay d                    now
         (=========== span ===========]                         |
    ─────┼────────────────────────────┼─────────────────────────●──▶ time
       t-d-span                      t-d                        t

An event of the entity at `s` *arrives* at `s + delay`, a label at its own `label_time` where the data has one (and never
before its event). The window of the event at `t` holds what arrived in `(t - span, t]`: without a delay that is
`(t - span, t]` of event time with the current event, with a delay `(t - d - span, t - d]`. Events are ordered by
(time, key): of several events at the same instant each sees itself and those with a smaller key. With a `resolution`
the old edge `t - span` is rounded down to a whole multiple of it, so the window is up to one step longer and a store may
keep sums per step. Events that lack the value (null, NaN, infinite) are left out of the windows of that value.

| aggregate | of the events in the window                                                | empty |
|-----------|----------------------------------------------------------------------------|-------|
| count     | number                                                                     | 0     |
| sum, mean | of the value: the exact sum, rounded once                                  | 0     |
| std       | population standard deviation; below 1e-10 of the root mean square it is 0 | 0     |
| distinct  | number of different values                                                 | 0     |
| min, max  | of the value                                                               | NaN   |
| last      | value of the latest event before the current one                           | NaN   |
| since     | seconds from the time of that event to now                                 | NaN   |
| ratio     | current value / mean over the events before the current one                | NaN   |

An event whose entity is null belongs to nobody: all its windows are NaN.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from ray_mlops.contract import Frozen

Aggregate = Literal["count", "sum", "mean", "min", "max", "std", "distinct", "last", "since", "ratio"]

DAY_US = 86_400_000_000
NEVER = int(np.iinfo(np.int64).max)  # arrival of what is not known yet
FLAT = 1e-10  # a standard deviation below this share of the root mean square is rounding, not variation
EARLIER = ("last", "since", "ratio")  # aggregates that leave the current event out
VALUELESS: frozenset[str] = frozenset({"count", "since"})  # aggregates that need no value and do not name it


class Window(Frozen):
    """Aggregates of one value over the recent events of one entity (module docstring: exact meaning).

    `entity` is a column or several (composite); `spans` and `delay` are in days, `resolution` in seconds; `prefix`
    goes before the names where two windows would otherwise be called the same.
    """

    entity: str | tuple[str, ...]
    value: str | None = None
    spans: tuple[float, ...] = Field(min_length=1)
    aggregates: tuple[Aggregate, ...] = Field(default=("count",), min_length=1)
    delay: float = Field(default=0.0, ge=0)
    resolution: float = Field(default=0.0, ge=0)
    prefix: str = ""

    @model_validator(mode="after")
    def _makes_sense(self) -> "Window":
        if any(not 0 < span < math.inf for span in self.spans) or len(set(self.spans)) != len(self.spans):
            raise ValueError(f"the spans of a window are different, positive numbers of days, not {self.spans}")
        if self.value is None and (needy := [name for name in self.aggregates if name not in VALUELESS]):
            raise ValueError(f"a window of {self.entities} aggregates {', '.join(needy)} of no value: set `value`")
        if not self.entities:
            raise ValueError("a window needs an entity: the column or columns that it groups by")
        return self

    @property
    def entities(self) -> tuple[str, ...]:
        return (self.entity,) if isinstance(self.entity, str) else self.entity

    @property
    def spans_us(self) -> tuple[int, ...]:
        return tuple(round(span * DAY_US) for span in self.spans)

    @property
    def delay_us(self) -> int:
        return round(self.delay * DAY_US)

    @property
    def resolution_us(self) -> int:
        return round(self.resolution * 1_000_000)

    @property
    def reach_us(self) -> int:
        """How far before an event its longest window can look, microseconds."""
        return max(self.spans_us) + self.delay_us + self.resolution_us

    def names(self) -> tuple[str, ...]:
        """One name a feature, spans outside, aggregates inside: `customer_id_mean_amount_7d`."""
        return tuple(self._name(aggregate, span) for span in self.spans for aggregate in self.aggregates)

    def _name(self, aggregate: str, span: float) -> str:
        value = () if aggregate in VALUELESS or self.value is None else (self.value,)
        prefix = (self.prefix,) if self.prefix else ()
        return "_".join((*prefix, *self.entities, aggregate, *value, f"{span:g}d"))


def old_edge(time: int, span_us: int, resolution_us: int) -> int:
    """The exclusive old end of the window of an event at `time`, all in microseconds."""
    edge = time - span_us
    return edge - edge % resolution_us if resolution_us else edge


class Others(NamedTuple):
    """Events of one entity other than the current one, ordered by (time, key); times in microseconds since the epoch.

    Those which a window does not reach, later ones included, may be there and change nothing. `values` is None for a
    window without a value; a missing value is None or NaN. `arrivals` are the label times where the data has them
    (`NEVER` for a label not known yet), given only for windows of the label; then the delay of the window plays no role.
    """

    times: Sequence[int]
    keys: Sequence[Any]
    values: Sequence[Any] | None = None
    arrivals: Sequence[int] | None = None


def evaluate_one(window: Window, others: Others, *, time: int, key: Any, value: Any = None) -> list[float]:
    """The features of the event (time, key, value), in the order of `window.names()`."""
    times, keys, values, arrivals = others
    if arrivals is not None:
        times, values, arrivals = _by_arrival(times, values, arrivals)
        delay, end = 0, bisect_right(arrivals, time)
    else:
        arrivals, delay = times, window.delay_us
        end = bisect_right(times, time - delay) if delay else _place(times, keys, time, key)
    includes_now = arrivals is times and not delay and (window.value is None or not _missing(value))
    features: list[float] = []
    for span in window.spans_us:
        start = min(bisect_right(arrivals, old_edge(time, span, window.resolution_us) - delay), end)
        seen = [i for i in range(start, end) if values is None or not _missing(values[i])]
        before = [] if values is None else [values[i] for i in seen]
        held = [*before, value] if includes_now else before
        since = (time - times[seen[-1]]) / 1e6 if seen else math.nan
        known = {"count": float(len(seen) + includes_now), "since": since}
        features += [
            known[name] if name in known else _compare(name, value, before) if name in EARLIER else _reduce(name, held)
            for name in window.aggregates
        ]
    return features


def _compare(aggregate: Aggregate, value: Any, before: Sequence[Any]) -> float:
    if aggregate == "last":
        return float(before[-1]) if before else math.nan
    return _ratio(value, before)


def _reduce(aggregate: Aggregate, held: Sequence[Any]) -> float:
    if aggregate == "distinct":
        return float(len(set(held)))
    if not held:
        return math.nan if aggregate in ("min", "max") else 0.0
    if aggregate == "min":
        return float(min(held))
    if aggregate == "max":
        return float(max(held))
    if aggregate == "std":
        return _spread(held)
    total = math.fsum(held)
    return total / len(held) if aggregate == "mean" else total


def _spread(held: Sequence[float]) -> float:
    mean = math.fsum(held) / len(held)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in held) / len(held))
    size = math.sqrt(math.fsum(x * x for x in held) / len(held))
    return spread if spread >= FLAT * size else 0.0


def _ratio(value: Any, before: Sequence[float]) -> float:
    mean = math.fsum(before) / len(before) if before else 0.0
    return math.nan if mean == 0.0 or _missing(value) else value / mean


def _place(times: Sequence[int], keys: Sequence[Any], time: int, key: Any) -> int:
    """How many events come before (time, key)."""
    place = bisect_left(times, time)
    while place < len(times) and times[place] == time and keys[place] < key:
        place += 1
    return place


def _by_arrival(
    times: Sequence[int], values: Sequence[Any] | None, arrivals: Sequence[int]
) -> tuple[list[int], list[Any], list[int]]:
    """The known labels in the order in which they arrived; never before their own event has passed."""
    assert values is not None, "arrivals belong to a window of the label"
    known = sorted((max(at, s + 1), i) for i, (s, at) in enumerate(zip(times, arrivals, strict=True)) if at != NEVER)
    return [times[i] for _, i in known], [values[i] for _, i in known], [at for at, _ in known]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and not math.isfinite(value))
