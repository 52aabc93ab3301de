"""The windows of one event from the state of its entity: the online twin of the batch kernel.

What each aggregate means is written down in `fraud.windows`; its `evaluate_one` is the oracle that this is tested with.
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from math import isnan

import numpy as np

from ray_mlops.fraud.windows import FLAT, Aggregate, old_edge
from ray_mlops.online.cells import NOTHING, Cells, Moments
from ray_mlops.online.plan import Plan, Program, Seen, Stream
from ray_mlops.online.state import EntityState

_NAN = math.nan


def total(values: Iterable[float]) -> float:
    """The exact sum, rounded once; infinite or NaN where a double cannot hold it."""
    try:
        return math.fsum(values)
    except OverflowError:
        return sum(values, 0.0)


def answer(plan: Plan, seen: Seen, states: list[EntityState | None]) -> list[float]:
    """All window features of an event, in the order of the definition; NaN where it has no such entity.

    `states` are per stream. The event itself may be among the rows or not.
    """
    features = [_NAN] * plan.width
    for stream, state, values in zip(plan.streams, states, seen.values, strict=True):
        if state is not None:
            for program in stream.programs:
                value = _NAN if program.column is None else values[program.column]
                _window(program, stream, state, (seen.time, seen.id, value), features)
    return features


def _window(program: Program, stream: Stream, state: EntityState, now: tuple, features: list[float]) -> None:
    time, key, value = now
    at, delay, position = state.at, program.delay, program.position
    exact = not stream.by_arrival and not delay
    end = state.place(time, time, key) if exact else bisect_right(at, time - delay)
    values = None if program.column is None else state.columns[program.column]
    includes_now = exact and (values is None or not isnan(value))
    for span in program.spans:
        edge = old_edge(time, span, program.resolution) - delay
        held = Rows(state.times, values, (bisect_right(at, edge, 0, end), end), (time, value, includes_now))
        if state.cells is not None and len(state.cells):
            held.attach(Steps(state.cells, program.column, *state.cells.span(edge, time - delay)))
        for aggregate in program.aggregates:
            features[position] = AGGREGATES[aggregate](held)
            position += 1


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
        return (NOTHING, _NAN) if step is None else (self.moments.time[step], self.moments.last[step])


class Rows:
    """The events that one window holds: rows `start:end` before the current one, itself where included, and steps.

    One method per aggregate. `held` are the values of the rows and, last, of the current event where it is included;
    `rows` and `total` are number and sum of all that the window holds.
    """

    __slots__ = ("end", "held", "includes_now", "rows", "start", "steps", "time", "times", "total", "value", "values")

    def __init__(
        self, times: Sequence[int], values: array | None, place: tuple[int, int], now: tuple[int, float, bool]
    ) -> None:
        self.times, self.values = times, values
        self.start, self.end = place
        self.time, self.value, self.includes_now = now
        self.steps: Steps | None = None
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

    def ratio(self) -> float:
        before = self.held[:-1] if self.includes_now else self.held
        sums = self.steps.sums() if self.steps else ()
        count = self.rows - self.includes_now
        mean = total(chain(before, sums)) / count if count else 0.0
        return _NAN if mean == 0.0 else self.value / mean

    def std(self) -> float:
        if not self.rows:
            return 0.0
        mean = self.mean()
        gaps = [value - mean for value in self.held]
        squares = total(gap * gap for gap in gaps)
        variance = (squares + self.steps.squares(mean) if self.steps else squares) / self.rows
        spread = math.sqrt(variance)
        return spread if spread >= FLAT * math.sqrt(variance + mean * mean) else 0.0

    def distinct(self) -> float:
        return float(len(set(self._figures("last"))))

    def min(self) -> float:
        return min(self._figures("least"), default=_NAN)

    def max(self) -> float:
        return max(self._figures("most"), default=_NAN)

    def last(self) -> float:
        return self._newest()[1]

    def since(self) -> float:
        latest, _ = self._newest()
        return _NAN if latest == NOTHING else (self.time - latest) / 1e6

    def _figures(self, name: str) -> Sequence[float]:
        """The values, and what stands for them per step: `least`, `most` or, for distinct ones, `last`."""
        return [*self.held, *self.steps.filled(name)] if self.steps else self.held

    def _newest(self) -> tuple[int, float]:
        """Time and value of the newest event before the current one; (`NOTHING`, NaN) where there is none."""
        for place in range(self.end - 1, self.start - 1, -1):
            value = _NAN if self.values is None else self.values[place]
            if self.values is None or not isnan(value):
                return self.times[place], value
        return self.steps.newest() if self.steps else (NOTHING, _NAN)


AGGREGATES: Mapping[Aggregate, Callable[[Rows], float]] = {
    "count": Rows.count,
    "sum": Rows.sum,
    "mean": Rows.mean,
    "min": Rows.min,
    "max": Rows.max,
    "std": Rows.std,
    "distinct": Rows.distinct,
    "last": Rows.last,
    "since": Rows.since,
    "ratio": Rows.ratio,
}
