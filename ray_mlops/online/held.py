"""What one window holds of the state of an entity, and the aggregates over all of it."""

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from math import isnan

import numpy as np

from ray_mlops.fraud.windows import FLAT
from ray_mlops.online.cells import NOTHING, Cells, Moments
from ray_mlops.online.exact import total
from ray_mlops.online.spikes import Spikes

_NAN = math.nan


class Steps:
    """The settled steps that a window holds, of one value column or, without one, of all events."""

    __slots__ = ("cells", "end", "moments", "start")

    def __init__(self, cells: Cells, column: int | None, start: int, end: int) -> None:
        self.cells = cells
        self.moments: Moments | None = None if column is None else cells.columns[column]
        self.start, self.end = start, end

    def count(self) -> int:
        return sum((self.cells.rows if self.moments is None else self.moments.count)[self.start : self.end])

    def sums(self) -> Iterable[float]:
        assert self.moments is not None
        return chain(self.moments.high[self.start : self.end], self.moments.low[self.start : self.end])

    def squares(self, mean: float) -> float:
        """The sum of the squared distances from the mean of the whole window; no term is negative."""
        assert self.moments is not None
        m, part = self.moments, slice(self.start, self.end)
        counts = np.frombuffer(m.count, np.int64)[part]
        totals = np.frombuffer(m.high)[part] + np.frombuffer(m.low)[part]
        gaps = totals / np.maximum(counts, 1) - mean
        return float(np.sum(np.frombuffer(m.squares)[part] + counts * gaps * gaps))

    def filled(self, name: str) -> list[float]:
        """One figure per step that has values."""
        assert self.moments is not None
        counts, figures = self.moments.count, getattr(self.moments, name)
        return [figures[step] for step in range(self.start, self.end) if counts[step]]

    def newest(self) -> tuple[int, float]:
        """Time and value of the newest event; (`NOTHING`, NaN) where there is none."""
        if self.moments is None:
            return max(self.cells.newest[self.start : self.end], default=NOTHING), _NAN
        step = max(range(self.start, self.end), key=self.moments.newest.__getitem__, default=None)
        if step is None or self.moments.newest[step] == NOTHING:
            return NOTHING, _NAN
        return self.moments.time[step], self.moments.last[step]


class Rows:
    """The events that one window holds: rows `start:end` before the current one, itself where included, and steps.

    `held` are the values of the rows and, last, of the current event where it is included; `rows` and `total` are number
    and sum of all that the window holds. The methods are the aggregates over all of it.
    """

    __slots__ = (
        "end", "held", "includes_now", "rows", "spikes", "start", "steps", "time", "times", "total", "value", "values"
    )  # fmt: skip

    def __init__(
        self, times: Sequence[int], values: array | None, place: tuple[int, int], now: tuple[int, float, bool]
    ) -> None:
        self.times, self.values = times, values
        self.start, self.end = place
        self.time, self.value, self.includes_now = now
        self.steps: Steps | None = None
        self.spikes: Spikes | None = None
        self.rows, self.total = self.end - self.start + self.includes_now, 0.0
        self.held: Sequence[float] = ()
        if values is not None:
            held = values[self.start : self.end]
            if self.includes_now:
                held.append(self.value)
            self.held, self.total = held, total(held)
            if isnan(self.total):  # some values are missing
                self.held = [value for value in held if not isnan(value)]
                self.rows, self.total = len(self.held), total(self.held)

    def attach(self, steps: Steps) -> None:
        """Count what the settled steps hold as well."""
        self.steps = steps
        self.rows += steps.count()
        if self.values is not None:
            self.total = total(chain(self.held, steps.sums()))

    def count(self) -> float:
        return float(self.rows)

    def sum(self) -> float:
        return self.total

    def mean(self) -> float:
        return self.total / self.rows if self.rows else 0.0

    def std(self) -> float:
        return self.spread(self.held, self.rows, self.mean()) if self.rows else 0.0

    def distinct(self) -> float:
        return float(len(set(self.figures("last", self.held))))

    def min(self) -> float:
        return min(self.figures("least", self.held), default=_NAN)

    def max(self) -> float:
        return max(self.figures("most", self.held), default=_NAN)

    # ---- what the aggregates over earlier events are made of ----

    @property
    def before(self) -> Sequence[float]:
        """The values of the rows without the current event."""
        return self.held[:-1] if self.includes_now else self.held

    @property
    def earlier(self) -> int:
        """How many events, in rows and steps, came before the current one."""
        return self.rows - self.includes_now

    def mean_before(self) -> float:
        sums = self.steps.sums() if self.steps else ()
        return total(chain(self.before, sums)) / self.earlier if self.earlier else 0.0

    def spread(self, values: Sequence[float], count: int, mean: float) -> float:
        """The standard deviation of `count` values: these and those of the steps."""
        squares = total((value - mean) * (value - mean) for value in values)
        variance = (squares + self.steps.squares(mean) if self.steps else squares) / count
        spread = math.sqrt(variance)
        return spread if spread >= FLAT * math.sqrt(variance + mean * mean) else 0.0

    def figures(self, name: str, values: Sequence[float]) -> Sequence[float]:
        """Values, and what stands for those of the steps: `least`, `most` or, for distinct ones, `last`."""
        return [*values, *self.steps.filled(name)] if self.steps else values

    def newest(self) -> tuple[int, float]:
        """Time and value of the newest event before the current one; (`NOTHING`, NaN) where there is none."""
        for place in range(self.end - 1, self.start - 1, -1):
            value = _NAN if self.values is None else self.values[place]
            if self.values is None or not isnan(value):
                return self.times[place], value
        return self.steps.newest() if self.steps else (NOTHING, _NAN)

    def streak(self) -> list[int]:
        """The times of the latest events in a row with a value above 0, newest first."""
        times: list[int] = []
        for time, value in self.newest_first():
            if value <= 0.0:
                break
            times.append(time)
        return times

    def newest_first(self) -> Iterator[tuple[int, float]]:
        """Time and value of the rows before the current event that have the value."""
        assert self.values is not None
        for place in range(self.end - 1, self.start - 1, -1):
            if not isnan(value := self.values[place]):
                yield self.times[place], value
