"""Sums per step of time, which keep the state of a heavy entity small.

A step holds the events that arrived in `(k * resolution, (k + 1) * resolution]`; the old edge of a window lies on the
same grid, so a window holds whole steps. Each value column keeps its moments per step.

Features are what they are without sums, late events and labels included, but for three things that a step does not
keep. An event later than `state.GRACE_US` leaves out the step of its own time where newer events are summed in it. Of
several events at one microsecond the last to come counts as the newest. Where the newest label of a step, of a stream
by arrival, is corrected to another time, `last` and `since` may go on to show it.
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
        if (at, time) >= (self.newest[step], self.time[step]):
            self.newest[step], self.time[step], self.last[step] = at, time, value

    def remove(self, step: int, value: float) -> None:
        """Take a value out of the sums. The extremes stay what they were until nothing is left, and so does the newest
        value unless another one takes its place."""
        if math.isnan(value) or not self.count[step]:
            return
        if self.count[step] == 1:
            self._clear(step)
            return
        before = self.mean(step)
        self._change(step, -1, -value)
        self.squares[step] = max(self.squares[step] - (value - before) * (value - self.mean(step)), 0.0)

    def _clear(self, step: int) -> None:
        # Not `last`: it is what a step of a split column is found by.
        self.count[step], self.newest[step], self.time[step] = 0, NOTHING, NOTHING
        self.high[step] = self.low[step] = self.squares[step] = 0.0
        self.least[step], self.most[step] = math.inf, -math.inf

    def _change(self, step: int, count: int, value: float) -> None:
        # The rounding error of the sum is kept beside it (Knuth's two-sum).
        high = self.high[step] + value
        back = high - self.high[step]
        self.low[step] += (self.high[step] - (high - back)) + (value - back)
        self.high[step] = high
        self.count[step] += count


class Cells:
    """Steps in order of time. `ends` is the inclusive end of each on the axis of `at`, `newest` the latest `at` in it,
    `rows` its number of events. Of the `split` columns of a stream there is a step per value."""

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
            self._put(moments, step, value, (at, time))

    def fill(self, at: int, column: int, value: float, *, undo: bool) -> None:
        """Add a value of an event that had been counted before it came, or take it back."""
        found, moments = self._find(at, column, value if undo else None), self.columns[column]
        if found is None:
            return
        if undo:
            moments.remove(found, value)
        elif column in self.stream.split:
            # The other columns of the event stay where they are: their sums are the same in any step with this end.
            alone = [value if place == column else math.nan for place in range(len(self.columns))]
            self._put(moments, self._step(at, alone), value, (at, at))
        else:
            self._put(moments, found, value, (at, at))

    def remove(self, at: int, values: Sequence[float]) -> None:
        """Take one label out of the step in which it arrived."""
        step = self._find(at, 0, values[0])
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
        start, end = bisect_right(self.ends, edge), bisect_right(self.ends, until)
        open_until = bisect_right(self.ends, self._end(until))
        if all(newest <= until for newest in self.newest[end:open_until]):
            end = open_until
        return start, max(start, end)

    def _put(self, moments: Moments, step: int, value: float, when: tuple[int, int]) -> None:
        moments.add(step, value, *when)
        newest = moments.newest
        for other in self._steps(self.ends[step]) if self.stream.split else ():
            if other != step and newest[other] == newest[step] == when[0]:
                newest[other] -= 1  # of several at one instant the last to come is the newest

    def _steps(self, end: int) -> range:
        return range(bisect_left(self.ends, end), bisect_right(self.ends, end))

    def _end(self, at: int) -> int:
        resolution, delay = self.stream.resolution_us, self.stream.delay_us
        return -(-(at + delay) // resolution) * resolution - delay

    def _find(self, at: int, column: int, value: float | None) -> int | None:
        """A step that an event at this instant is summed in; with a value, one that holds it where the column is split."""
        split, moments = value is not None and column in self.stream.split, self.columns[column]
        for step in self._steps(self._end(at)):
            if not split or (moments.last[step] == value and moments.count[step]):
                return step
        return None

    def _step(self, at: int, values: Sequence[float]) -> int:
        end = self._end(at)
        for step in self._steps(end):
            if all(_same(self.columns[i].last[step], values[i]) for i in self.stream.split):
                return step
        step = bisect_right(self.ends, end)
        for name, value in zip(self.INTEGERS, (end, NOTHING, 0), strict=True):
            getattr(self, name).insert(step, value)
        for moments in self.columns:
            moments.open(step)
        return step


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))
