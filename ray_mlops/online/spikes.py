"""Which events of an entity were spikes, from its rows: the online twin of `fraud.window_earlier.Earlier.spikes`."""

import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from math import isnan

from ray_mlops.online.exact import total
from ray_mlops.online.plan import Program
from ray_mlops.online.state import EntityState


class Spikes:
    """The spikes among the rows `start:end` of a state of events, found when they are first asked for."""

    def __init__(self, program: Program, state: EntityState, start: int, end: int) -> None:
        assert program.column is not None
        self._program, self._at, self._values = program, state.at, state.columns[program.column]
        self._start, self._end = start, end

    def count(self, start: int) -> float:
        """How many there are from a row on."""
        return float(len(self._places) - bisect_right(self._places, start - 1))

    @cached_property
    def _places(self) -> list[int]:
        if self._start == self._end:
            return []
        return [
            row for row, lo, hi, judged in self._judged() if judged or (judged is None and self._is_spike(row, lo, hi))
        ]

    def _judged(self) -> Iterator[tuple[int, int, int, bool | None]]:
        """Each row, the rows `lo:hi` that it is compared with, and whether it is a spike; None: too close to tell.

        The sums run along, which is quick and a little inexact.
        """
        at, values, program = self._at, self._values, self._program
        now = at[self._start] - program.delay
        lo = bisect_right(at, now - program.baseline, 0, self._start)
        hi = bisect_right(at, now, lo, self._start)
        known, running = _there(values[lo:hi])
        unsure = 2.0 * sys.float_info.epsilon * (self._end - lo) * _there(values[lo : self._end], abs)[1]
        for row in range(self._start, self._end):
            newest, oldest = at[row] - program.delay, at[row] - program.delay - program.baseline
            while hi < row and at[hi] <= newest:
                if not isnan(values[hi]):
                    known, running = known + 1, running + values[hi]
                hi += 1
            while lo < hi and at[lo] <= oldest:
                if not isnan(values[lo]):
                    known, running = known - 1, running - values[lo]
                lo += 1
            value = values[row] * known
            margin = value - program.spike * running
            sure = running > unsure and abs(margin) > program.spike * unsure + 1e-9 * abs(value)
            yield row, lo, hi, margin > 0.0 if sure else None

    def _is_spike(self, row: int, lo: int, hi: int) -> bool:
        held = [value for value in self._values[lo:hi] if not isnan(value)]
        mean = total(held) / len(held) if held else 0.0
        return mean != 0.0 and self._values[row] / mean >= self._program.spike


def _there(values: array, of: Callable[[float], float] = float) -> tuple[int, float]:
    """How many are not missing, and the sum of what is made of them."""
    size = sum(map(of, values))
    if not isnan(size):
        return len(values), size
    there = [of(value) for value in values if not isnan(value)]
    return len(there), sum(there)
