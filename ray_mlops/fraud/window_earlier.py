"""The aggregates over the events before the current one, for all rows of a part at once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ray_mlops.fraud import window_kernel as kernel
from ray_mlops.fraud import window_runs as runs
from ray_mlops.fraud.window_line import Ends
from ray_mlops.fraud.windows import FLAT


@dataclass(frozen=True)
class Earlier:
    """For each row the events `lo:hi` of its line before it; `value` (None where a window has none) is the row's own."""

    ends: Ends
    value: np.ndarray | None
    lo: np.ndarray

    @cached_property
    def hi(self) -> np.ndarray:
        return kernel.before(self.lo, self.ends.hi, self.ends.at, self.ends.line.pos)

    @property
    def _current(self) -> np.ndarray:
        assert self.value is not None
        return self.value

    def last(self) -> np.ndarray:
        return kernel.latest(self.ends.line.values, self.lo, self.hi)

    def since(self) -> np.ndarray:
        return (self.ends.times - kernel.latest(self.ends.line.times, self.lo, self.hi)) / 1e6

    def ratio(self) -> np.ndarray:
        return self._over(self._mean())

    def max_ratio(self) -> np.ndarray:
        assert self.ends.line.values is not None
        return self._over(-kernel.smallest(-self.ends.line.values, self.ends.base, self.lo, self.hi))

    def geometric_ratio(self) -> np.ndarray:
        total, count = (kernel.totals(sums, self.ends.base, self.lo, self.hi) for sums in self.ends.line.logs)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.exp(np.log(self._current) - total / count)
        ratio[~(self._current > 0.0) | (count == 0.0)] = np.nan
        return ratio

    def zscore(self) -> np.ndarray:
        line = self.ends.line
        spread = kernel.spreads(line.sums, line.squares, self.ends.base, self.lo, self.hi, FLAT)
        spread[spread == 0.0] = np.nan
        return (self._current - self._mean()) / spread

    def count(self, chosen: np.ndarray) -> np.ndarray:
        """How many of some chosen (bool) events of the line each window holds."""
        running = np.concatenate((np.zeros(1), np.cumsum(chosen)))
        return running[self.hi] - running[self.lo]

    def since_positive(self) -> np.ndarray:
        return runs.ages(self.ends.line.times, self.ends.times, self._ends(self.ends.line.positives), self.lo)

    def streak(self) -> np.ndarray:
        return runs.streaks(self.ends.line.others, self.lo, self.hi).astype(np.float64)

    def streak_age(self) -> np.ndarray:
        length = runs.streaks(self.ends.line.others, self.lo, self.hi)
        return runs.ages(self.ends.line.times, self.ends.times, np.where(length > 0, self.hi - length, -1), self.lo)

    def _ends(self, places: np.ndarray) -> np.ndarray:
        if not len(places):
            return np.full(len(self.hi), -1)
        return np.where(self.lo < self.hi, places[self.hi - 1], -1)

    def _mean(self) -> np.ndarray:
        return kernel.means(kernel.totals(self.ends.line.sums, self.ends.base, self.lo, self.hi), self.lo, self.hi)

    def _over(self, usual: np.ndarray) -> np.ndarray:
        usual[usual == 0.0] = np.nan
        return self._current / usual
