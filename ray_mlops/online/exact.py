"""Sums that do not depend on the order of what is added."""

import math
from collections.abc import Iterable


def total(values: Iterable[float]) -> float:
    """The exact sum, rounded once; infinite or NaN where a double cannot hold it."""
    try:
        return math.fsum(values)
    except OverflowError:
        return sum(values, 0.0)
