"""The aggregates over the events before the current one: the online twin of `fraud.window_earlier`."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from ray_mlops.fraud.windows import Aggregate
from ray_mlops.online.cells import NOTHING
from ray_mlops.online.exact import total
from ray_mlops.online.held import Rows

_NAN = math.nan


def last(rows: Rows) -> float:
    """The value of the latest event."""
    return rows.newest()[1]


def since(rows: Rows) -> float:
    """Seconds since the latest event."""
    latest, _ = rows.newest()
    return _NAN if latest == NOTHING else _age(rows, latest)


def ratio(rows: Rows) -> float:
    """The current value over the mean."""
    return _over(rows.value, rows.mean_before())


def max_ratio(rows: Rows) -> float:
    """The current value over the largest."""
    return _over(rows.value, max(rows.figures("most", rows.before), default=0.0))


def geometric_ratio(rows: Rows) -> float:
    """The current value over the geometric mean of those above 0."""
    before = np.array(rows.before)
    logs = np.log(before[before > 0.0]).tolist()
    return math.exp(math.log(rows.value) - total(logs) / len(logs)) if logs and rows.value > 0.0 else _NAN


def zscore(rows: Rows) -> float:
    """The current value, in standard deviations from the mean."""
    if not rows.earlier:
        return _NAN
    mean = rows.mean_before()
    return _over(rows.value - mean, rows.spread(rows.before, rows.earlier, mean))


def spikes(rows: Rows) -> float:
    """How many were spikes."""
    assert rows.spikes is not None
    return rows.spikes.count(rows.start)


def streak(rows: Rows) -> float:
    """How many of the latest in a row have a value above 0."""
    return float(len(rows.streak()))


def streak_age(rows: Rows) -> float:
    """Seconds since the first of the streak."""
    times = rows.streak()
    return _age(rows, times[-1]) if times else _NAN


def since_positive(rows: Rows) -> float:
    """Seconds since the latest with a value above 0."""
    return next((_age(rows, time) for time, value in rows.newest_first() if value > 0.0), _NAN)


def _age(rows: Rows, time: int) -> float:
    return (rows.time - time) / 1e6


def _over(value: float, usual: float) -> float:
    return _NAN if usual == 0.0 else value / usual


EARLIER: Mapping[Aggregate, Callable[[Rows], float]] = {
    "last": last,
    "since": since,
    "ratio": ratio,
    "max_ratio": max_ratio,
    "geometric_ratio": geometric_ratio,
    "zscore": zscore,
    "spikes": spikes,
    "streak": streak,
    "streak_age": streak_age,
    "since_positive": since_positive,
}
