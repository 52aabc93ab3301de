"""Point-in-time windows over the events of an entity: what they mean.

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

| aggregate       | of the events in the window                                                | empty |
|-----------------|----------------------------------------------------------------------------|-------|
| count           | number                                                                     | 0     |
| sum, mean       | of the value: the exact sum, rounded once                                  | 0     |
| std             | population standard deviation; below 1e-10 of the root mean square it is 0 | 0     |
| distinct        | number of different values                                                 | 0     |
| min, max        | of the value                                                               | NaN   |

The others look at the events of the window *before* the current one:

| aggregate       |                                                                            | empty |
|-----------------|----------------------------------------------------------------------------|-------|
| last            | value of the latest event                                                  | NaN   |
| since           | seconds from the time of the latest event to now                           | NaN   |
| ratio           | current value / mean                                                       | NaN   |
| max_ratio       | current value / max                                                        | NaN   |
| geometric_ratio | current value / geometric mean of the values above 0                       | NaN   |
| zscore          | (current value - mean) / std                                               | NaN   |
| spikes          | number of spikes: events whose own ratio, over the `baseline` days before  | 0     |
|                 | each, was at least `spike`                                                 |       |
| streak          | number of latest events in a row with a value above 0                      | 0     |
| streak_age      | seconds from the first event of the streak to now                          | NaN   |
| since_positive  | seconds from the latest event with a value above 0 to now                  | NaN   |

A quotient whose denominator is 0, or whose current value is missing, is NaN. Sums per step cannot tell the order and the
logarithms of events, so `ORDERED` aggregates need a window without `resolution`.

An event whose entity is null belongs to nobody: all its windows are NaN.
"""

import math
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from ray_mlops.contract import Frozen

Aggregate = Literal[
    "count", "sum", "mean", "min", "max", "std", "distinct",
    "last", "since", "ratio", "max_ratio", "geometric_ratio", "zscore", "spikes", "streak", "streak_age",
    "since_positive",
]  # fmt: skip

DAY_US = 86_400_000_000
NEVER = int(np.iinfo(np.int64).max)  # arrival of what is not known yet
FLAT = 1e-10  # a standard deviation below this share of the root mean square is rounding, not variation
COMPARED: frozenset[str] = frozenset(
    {"ratio", "max_ratio", "geometric_ratio", "zscore", "spikes"}
)  # with the value of an event
ORDERED: frozenset[str] = frozenset({"geometric_ratio", "spikes", "streak", "streak_age", "since_positive"})
EARLIER: frozenset[str] = COMPARED | ORDERED | {"last", "since"}  # these leave the current event out
VALUELESS: frozenset[str] = frozenset({"count", "since"})  # aggregates that need no value and do not name it


class Window(Frozen):
    """Aggregates of one value over the recent events of one entity (module docstring: exact meaning).

    `entity` is a column or several (composite); `spans` and `delay` are in days, `resolution` in seconds; `prefix`
    goes before the names where two windows would otherwise be called the same. `spike` and `baseline` (days) say what
    the aggregate `spikes` counts.
    """

    entity: str | tuple[str, ...]
    value: str | None = None
    spans: tuple[float, ...] = Field(min_length=1)
    aggregates: tuple[Aggregate, ...] = Field(default=("count",), min_length=1)
    delay: float = Field(default=0.0, ge=0)
    resolution: float = Field(default=0.0, ge=0)
    spike: float = Field(default=3.0, gt=0)
    baseline: float = Field(default=30.0, gt=0)
    prefix: str = ""

    @model_validator(mode="after")
    def _makes_sense(self) -> "Window":
        if any(not 0 < span < math.inf for span in self.spans) or len(set(self.spans)) != len(self.spans):
            raise ValueError(f"the spans of a window are different, positive numbers of days, not {self.spans}")
        if self.value is None and (needy := [name for name in self.aggregates if name not in VALUELESS]):
            raise ValueError(f"a window of {self.entities} aggregates {', '.join(needy)} of no value: set `value`")
        if self.resolution and (unfit := sorted(ORDERED & set(self.aggregates))):
            raise ValueError(f"{', '.join(unfit)} need every event by itself: leave out `resolution`")
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
    def baseline_us(self) -> int:
        return round(self.baseline * DAY_US)

    @property
    def reach_us(self) -> int:
        """How far before an event its longest window can look, microseconds."""
        usual = self.baseline_us + self.delay_us if "spikes" in self.aggregates else 0
        return max(self.spans_us) + usual + self.delay_us + self.resolution_us

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
