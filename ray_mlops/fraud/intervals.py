"""Day-block bootstrap: intervals of metrics whose rows of one day belong together.

A `Metric` is a function of day weights: rows of weights `(replicates, days)` in, one value a replicate out. A weight
of one for every day gives the metric itself; multiplicities of days drawn with replacement give its bootstrap
replicates. Metrics keep per-day sums, so a replicate costs a product of small matrices and never touches the rows.
Metrics drawn with the same weights are paired, so the interval of a difference is the interval of `minus(a, b)`.
"""

from collections.abc import Callable

import numpy as np

from ray_mlops.algorithms.ranking import divide
from ray_mlops.contract import Frozen

Metric = Callable[[np.ndarray], np.ndarray]

_CHUNK = 25  # replicates evaluated at once: bounds the memory of metrics with a row for every positive


class Estimate(Frozen):
    """A value with its bootstrap interval; NaN where it is undefined, as the recall of no positives is."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


def day_index(seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the days of event times (seconds since the epoch, `(rows,)`): the UTC days there are, sorted, as days
    since the epoch, and for each row its position among them."""
    return np.unique(np.floor_divide(seconds, 86_400).astype(np.int64), return_inverse=True)


def day_draws(days: int, replicates: int, seed: int) -> np.ndarray:
    """How often each of `days` days comes up in each replicate, `(replicates, days)`."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.multinomial(days, np.full(days, 1 / days), size=replicates).astype(np.float64)


def estimate(metric: Metric, draws: np.ndarray, confidence: float = 0.95) -> Estimate:
    """The metric with its percentile interval. Replicates in which it is undefined are left out; with fewer than two
    days nothing can be resampled and both ends are NaN. The interval never leaves out the value itself: resampling
    can only worsen a calibration error, so that all its replicates may lie above it."""
    days = draws.shape[1]
    value = float(metric(np.ones((1, days)))[0])
    parts = [metric(draws[start : start + _CHUNK]) for start in range(0, len(draws), _CHUNK)]
    replicates = np.concatenate(parts) if days > 1 and parts else np.empty(0)
    replicates = replicates[np.isfinite(replicates)]
    if not len(replicates):
        return Estimate(value=value, low=float("nan"), high=float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Estimate(value=value, low=float(np.fmin(low, value)), high=float(np.fmax(high, value)))


def minus(one: Metric, other: Metric) -> Metric:
    """The paired difference of two metrics."""
    return lambda weights: one(weights) - other(weights)


def total(values: np.ndarray, days: np.ndarray, count: int) -> Metric:
    """The sum of a value per row, `(rows,)`; `days` are positions below `count`."""
    sums = day_sums(values, days, count)
    return lambda weights: weights @ sums


def ratio(part: np.ndarray, whole: np.ndarray, days: np.ndarray, count: int) -> Metric:
    """The sum of one value per row over the sum of another; NaN where the latter is 0."""
    return quotient(day_sums(part, days, count), day_sums(whole, days, count))


def quotient(part: np.ndarray, whole: np.ndarray) -> Metric:
    """The quotient of two sums given by day, `(days,)` each."""
    return lambda weights: divide(weights @ part, weights @ whole)


def day_sums(values: np.ndarray, days: np.ndarray, count: int) -> np.ndarray:
    """The sum of a value per row by day, `(count,)`."""
    return np.bincount(days, weights=np.asarray(values, dtype=np.float64), minlength=count)
