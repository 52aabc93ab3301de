"""What the windows of one value can hold, and the running sums over it, which are made when they are first asked for."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ray_mlops.fraud import window_kernel as kernel
from ray_mlops.fraud import window_runs as runs

Sums = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Line:
    """What the windows of one value can hold, in the order of arrival (see `window_kernel`)."""

    pos: np.ndarray
    starts: np.ndarray
    arrivals: np.ndarray
    times: np.ndarray
    values: np.ndarray | None
    codes: np.ndarray | None

    @cached_property
    def sums(self) -> Sums:
        return kernel.running(self.values, self.starts, False)

    @cached_property
    def squares(self) -> Sums:
        return kernel.running(self.values, self.starts, True)

    @cached_property
    def logs(self) -> tuple[Sums, Sums]:
        """Of the positive values: running sums of their logarithms, and how many there are."""
        assert self.values is not None
        positive = self.values > 0.0
        logs = np.log(np.where(positive, self.values, 1.0))
        counts = positive.astype(np.float64)
        return kernel.running(logs, self.starts, False), kernel.running(counts, self.starts, False)

    @cached_property
    def positives(self) -> np.ndarray:
        """For each event the place of the latest one with a positive value up to it."""
        assert self.values is not None
        return runs.latest_places(self.values > 0.0, self.starts)

    @cached_property
    def others(self) -> np.ndarray:
        """For each event the place of the latest one without a positive value up to it."""
        assert self.values is not None
        return runs.latest_places(self.values <= 0.0, self.starts)


@dataclass(frozen=True)
class Ends:
    """Some rows, by place and time, and where their windows end on a line (see `window_kernel`)."""

    line: Line
    at: np.ndarray
    times: np.ndarray
    base: np.ndarray
    hi: np.ndarray

    @classmethod
    def of(cls, line: Line, times: np.ndarray, at: np.ndarray, at_starts: np.ndarray) -> "Ends":
        hi = kernel.ends(times, at, at_starts, line.starts, line.arrivals, line.pos)
        return cls(line, at, times, kernel.bases(at_starts, line.starts), hi)

    def begins(self, span: int, resolution: int) -> np.ndarray:
        """Where the windows of a span begin; both in microseconds."""
        return kernel.begins(self.times, self.base, self.hi, self.line.arrivals, span, resolution)
