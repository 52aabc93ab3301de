"""Sums per step of time, which keep the state of a heavy entity small.

A step holds the events that arrived in `(k * resolution, (k + 1) * resolution]`; the old edge of a window lies on the
same grid, so a window holds whole steps. Each value column keeps its moments per step.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from ray_mlops.online.plan import Stream

NOTHING = -(1 << 62)  # the time of the newest event of a step that has none with the value


class Moments:
    """Per step: how many values, their exact sum as two doubles, squared distances from the mean, extremes, and the
    newest value with its `at` and the time of its event."""

    INTEGERS = ("count", "newest", "time")
    DOUBLES = ("high", "low", "squares", "least", "most", "last")
    __slots__ = (*INTEGERS, *DOUBLES)

    def __init__(self) -> None:
        self.count, self.newest, self.time = array("q"), array("q"), array("q")
        self.high, self.low, self.squares = array("d"), array("d"), array("d")
        self.least, self.most, self.last = array("d"), array("d"), array("d")

    def open(self, step: int) -> None:
        empty = (0, NOTHING, NOTHING, 0.0, 0.0, 0.0, math.inf, -math.inf, math.nan)
        for name, value in zip((*self.INTEGERS, *self.DOUBLES), empty, strict=True):
            getattr(self, name).insert(step, value)

    def mean(self, step: int) -> float:
        return (self.high[step] + self.low[step]) / self.count[step] if self.count[step] else 0.0

    def add(self, step: int, value: float, at: int, time: int) -> None:
        if math.isnan(value):
            return
        before = self.mean(step)
        self._change(step, 1, value)
        self.squares[step] += (value - before) * (value - self.mean(step))
        self.least[step] = min(self.least[step], value)
        self.most[step] = max(self.most[step], value)
        if at >= self.newest[step]:
            self.newest[step], self.time[step], self.last[step] = at, time, value

    def remove(self, step: int, value: float) -> None:
        """Take a value out of the sums; the extremes and the newest value stay what they were."""
        if math.isnan(value) or not self.count[step]:
            return
        before = self.mean(step)
        self._change(step, -1, -value)
        self.squares[step] = max(self.squares[step] - (value - before) * (value - self.mean(step)), 0.0)

    def _change(self, step: int, count: int, value: float) -> None:
        # The rounding error of the sum is kept beside it (Knuth's two-sum).
        high = self.high[step] + value
        back = high - self.high[step]
        self.low[step] += (self.high[step] - (high - back)) + (value - back)
        self.high[step] = high
        self.count[step] += count


class Cells:
    """Steps in order of time. `ends` is the inclusive end of each on the axis of `at`, `newest` the latest `at` in it,
    `rows` its number of events. With distinct columns there is a step per value."""

    INTEGERS = ("ends", "newest", "rows")
    __slots__ = ("stream", *INTEGERS, "columns")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.ends, self.newest, self.rows = array("q"), array("q"), array("q")
        self.columns = [Moments() for _ in stream.columns]

    def __len__(self) -> int:
        return len(self.ends)

    def arrays(self) -> list[tuple[Any, str, str]]:
        """Where every array lives, in a fixed order: (owner, attribute, `q` for integers or `d` for doubles)."""
        found: list[tuple[Any, str, str]] = [(self, name, "q") for name in self.INTEGERS]
        for moments in self.columns:
            found += [(moments, name, "q") for name in Moments.INTEGERS]
            found += [(moments, name, "d") for name in Moments.DOUBLES]
        return found

    def add(self, at: int, time: int, values: Sequence[float]) -> None:
        """Count one event in its step."""
        step = self._step(at, values)
        self.newest[step] = max(self.newest[step], at)
        self.rows[step] += 1
        for moments, value in zip(self.columns, values, strict=True):
            moments.add(step, value, at, time)

    def fill(self, at: int, column: int, value: float, *, undo: bool) -> None:
        """Add a value that came after its event had been counted, or take it back."""
        step = self._find(at)
        if step is not None:
            moments = self.columns[column]
            moments.remove(step, value) if undo else moments.add(step, value, at, at)

    def remove(self, at: int, values: Sequence[float]) -> None:
        """Take one event out of its step."""
        step = self._find(at)
        if step is not None:
            self.rows[step] -= 1
            for moments, value in zip(self.columns, values, strict=True):
                moments.remove(step, value)

    def drop(self, limit: int) -> None:
        """Forget the steps that ended by `limit`."""
        gone = bisect_right(self.ends, limit)
        if gone:
            for owner, name, _ in self.arrays():
                del getattr(owner, name)[:gone]

    def span(self, edge: int, until: int) -> tuple[int, int]:
        """The steps after `edge` whose events had all arrived by `until`."""
        start, end = bisect_right(self.ends, edge), len(self.ends)
        while end > start and self.newest[end - 1] > until:
            end -= 1
        return start, end

    def _end(self, at: int) -> int:
        resolution, delay = self.stream.resolution_us, self.stream.delay_us
        return -(-(at + delay) // resolution) * resolution - delay

    def _find(self, at: int) -> int | None:
        end = self._end(at)
        step = bisect_left(self.ends, end)
        return step if step < len(self) and self.ends[step] == end else None

    def _step(self, at: int, values: Sequence[float]) -> int:
        end = self._end(at)
        step = bisect_left(self.ends, end)
        while step < len(self) and self.ends[step] == end:
            if all(_same(self.columns[i].last[step], values[i]) for i in self.stream.distinct):
                return step
            step += 1
        for name, value in zip(self.INTEGERS, (end, NOTHING, 0), strict=True):
            getattr(self, name).insert(step, value)
        for moments in self.columns:
            moments.open(step)
        return step


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))
