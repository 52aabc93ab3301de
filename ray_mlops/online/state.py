"""The rows of one entity in one stream: kept in order, labelled later, dropped when no window can reach them.

Flat arrays of the standard library: an entity has tens of rows, where they beat vectors, they are read and written as
they are, and a heavy entity is kept small by its resolution. Everything here is pure; the stores only move it to and from
a database.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import repeat
from math import nan
from typing import Any

from ray_mlops.online.cells import Cells
from ray_mlops.online.plan import LATENESS_US, Stream

GRACE_US = 60_000_000  # rows stay exact this long before they are summed per step: replicas deliver out of order
SETTLE_ROWS = 64  # rows are summed this many at a time


class EntityState:
    """Rows ordered by (`at`, time, key), and the sums of those that a resolution has settled.

    `at` is the event time, and in a stream of labels the instant of arrival; `times` is the same array unless rows are
    labels. `columns` hold the values, NaN where missing. `settled` is the newest `at` that is in the sums.
    """

    __slots__ = ("at", "cells", "columns", "keys", "settled", "times")

    def __init__(self, stream: Stream) -> None:
        self.at = array("q")
        self.times = array("q") if stream.by_arrival else self.at
        self.keys: Any = [] if stream.text_keys else array("q")
        self.columns = [array("d") for _ in stream.columns]
        self.cells = Cells(stream) if stream.resolution_us else None
        self.settled: int | None = None

    def __len__(self) -> int:
        return len(self.at) + (len(self.cells) if self.cells else 0)

    @property
    def newest(self) -> int | None:
        """The latest `at` seen; None where nothing is held."""
        return self.at[-1] if self.at else self.settled

    def place(self, at: int, time: int, key: int | str) -> int:
        """How many rows come before (at, time, key)."""
        place = bisect_left(self.at, at)
        while place < len(self.at) and self.at[place] == at and (self.times[place], self.keys[place]) < (time, key):
            place += 1
        return place

    def insert(self, at: int, time: int, key: int | str, values: Sequence[float]) -> None:
        """Add a row unless it is there."""
        if self.settled is not None and at <= self.settled and self.cells:
            self.cells.add(at, time, values)
            return
        place = self.place(at, time, key) if self.at and at <= self.at[-1] else len(self.at)
        if place < len(self.at) and (self.at[place], self.times[place], self.keys[place]) == (at, time, key):
            return
        self.at.insert(place, at)
        if self.times is not self.at:
            self.times.insert(place, time)
        self.keys.insert(place, key)
        for column, value in zip(self.columns, values, strict=True):
            column.insert(place, value)

    def extend(self, times: array, keys: "array | list[str]", columns: Sequence[array]) -> None:
        """Add events that are in order; at once where they come after all that is there."""
        if times and (self.newest is None or self.newest < times[0]):
            self.at.extend(times)
            self.keys.extend(keys)
            for column, values in zip(self.columns, columns, strict=True):
                column.extend(values)
        else:
            for time, key, values in zip(
                times, keys, zip(*columns, strict=True) if columns else repeat(()), strict=False
            ):
                self.insert(time, time, key, values)

    def fill(self, time: int, key: int | str, column: int, value: float, *, undo: bool = False) -> None:
        """Set a value of an event, or take it back; nothing happens where the event is gone."""
        place = self.place(time, time, key)
        if place < len(self.at) and (self.at[place], self.keys[place]) == (time, key):
            self.columns[column][place] = nan if undo else value
        elif self.cells and self.settled is not None and time <= self.settled:
            self.cells.fill(time, column, value, undo=undo)

    def retract(self, at: int, time: int, key: int | str, values: Sequence[float]) -> None:
        """Take out a row that was inserted with these values."""
        place = self.place(at, time, key)
        if place < len(self.at) and (self.at[place], self.times[place], self.keys[place]) == (at, time, key):
            self._delete(place, place + 1)
        elif self.cells and self.settled is not None and at <= self.settled:
            self.cells.remove(at, values)

    def advance(self, stream: Stream, now: int) -> None:
        """Drop what no event from `now - LATENESS_US` on can see, and sum what a resolution lets be summed.

        Work is put off until it is worth it: what is kept too long changes no feature.
        """
        limit = now - stream.reach_us - LATENESS_US
        gone = bisect_right(self.at, limit)
        if gone * 8 > len(self.at):
            self._delete(0, gone)
        if self.cells is not None:
            self.cells.drop(limit)
            due = bisect_right(self.at, now - stream.delay_us - GRACE_US)
            if due >= SETTLE_ROWS:
                self._settle(due)

    def _settle(self, due: int) -> None:
        assert self.cells is not None
        for place in range(due):
            self.cells.add(self.at[place], self.times[place], [column[place] for column in self.columns])
        self.settled = max(self.at[due - 1], self.settled or self.at[due - 1])
        self._delete(0, due)

    def _delete(self, start: int, end: int) -> None:
        del self.at[start:end]
        if self.times is not self.at:
            del self.times[start:end]
        del self.keys[start:end]
        for column in self.columns:
            del column[start:end]
