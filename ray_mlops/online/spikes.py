"""Which events of an entity were spikes, from its rows: the online twin of `fraud.window_earlier.Earlier.spikes`."""

import math
from functools import cached_property

import numpy as np

from ray_mlops.online.exact import total
from ray_mlops.online.plan import Program
from ray_mlops.online.state import EntityState

_EPSILON = float(np.finfo(np.float64).eps)


class Spikes:
    """The spikes among the rows `start:end` of a state, found when they are first asked for."""

    def __init__(self, program: Program, state: EntityState, start: int, end: int) -> None:
        assert program.column is not None
        self._program, self._values = program, state.columns[program.column]
        self._state, self._start, self._end = state, start, end

    def count(self, start: int) -> float:
        """How many there are from a row on."""
        return float(np.count_nonzero(self._flags[start - self._start :]))

    @cached_property
    def _flags(self) -> np.ndarray:
        lo, hi = self._bounds()
        first = int(lo.min(initial=self._end))
        values = np.array(self._values[first : self._end])
        known = ~np.isnan(values)
        there = np.where(known, values, 0.0)
        count = _between(known.astype(np.float64), lo - first, hi - first)
        total = _between(there, lo - first, hi - first)
        # A running sum is off by less than this; where that could matter the exact sum decides.
        unsure = 4.0 * len(values) * _EPSILON * float(np.abs(there).sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = values[self._start - first :] * count / total
            near = np.abs(ratio - self._program.spike) <= np.abs(ratio) * (unsure / np.abs(total) + 1e-9)
        flags = ratio >= self._program.spike
        for row in np.flatnonzero(near | (np.abs(total) <= 2.0 * unsure)):
            flags[row] = self._is_spike(self._start + int(row), int(lo[row]), int(hi[row]))
        return flags

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """For each row which ones its own ratio is taken over."""
        state, delay = self._state, self._program.delay
        at = np.array(state.at[: self._end])
        times = np.array(state.times[self._start : self._end])
        exact = state.times is state.at and not delay
        hi = np.arange(self._start, self._end) if exact else np.searchsorted(at, times - delay, side="right")
        lo = np.searchsorted(at, times - delay - self._program.baseline, side="right")
        return np.minimum(lo, hi), hi

    def _is_spike(self, row: int, lo: int, hi: int) -> bool:
        held = [value for value in self._values[lo:hi] if not math.isnan(value)]
        mean = total(held) / len(held) if held else 0.0
        return mean != 0.0 and self._values[row] / mean >= self._program.spike


def _between(values: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    running = np.concatenate((np.zeros(1), np.cumsum(values)))
    return running[hi] - running[lo]
