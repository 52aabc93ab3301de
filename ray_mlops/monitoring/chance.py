"""What chance alone gives: the probability of a difference at least as large when nothing has changed."""

import math

import numpy as np


def chi_squared(statistic: float, degrees: int) -> float:
    """The probability that a chi-squared variable exceeds a value; 1 without degrees of freedom."""
    from scipy.special import chdtrc  # `scipy.stats` takes a second to import

    return float(chdtrc(degrees, max(statistic, 0.0))) if degrees > 0 else 1.0


def normal(z: float) -> float:
    """The probability that a standard normal variable exceeds z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def more_often(now: tuple[int, int], before: tuple[int, int]) -> float:
    """Fisher's exact test, one-sided: of (cases, rows) now and before, the probability of so many cases now or more."""
    from scipy.special import gammaln

    (cases, rows), (earlier, others) = now, before
    total, everything = cases + earlier, rows + others
    if not cases or not rows or not others:
        return 1.0
    found = np.arange(cases, min(total, rows) + 1, dtype=float)

    def choose(whole: float, part: np.ndarray | float) -> np.ndarray:
        return gammaln(whole + 1) - gammaln(part + 1) - gammaln(whole - part + 1)

    logs = choose(total, found) + choose(everything - total, rows - found) - choose(everything, float(rows))
    return float(min(1.0, np.exp(logs).sum()))


def at_least(needed: int, windows: int, chance: float) -> float:
    """The probability that at least `needed` of some independent windows show what each does with probability `chance`."""
    terms = (
        math.comb(windows, count) * chance**count * (1 - chance) ** (windows - count)
        for count in range(needed, windows + 1)
    )
    return min(1.0, sum(terms))


def holm(chances: np.ndarray, level: float) -> np.ndarray:
    """Which of several p-values `(tests,)` are significant together, by Holm's step-down procedure: a bool array.

    Whatever depends on whatever, the probability of any false one among them is at most `level`.
    """
    order = np.argsort(chances, kind="stable")
    steps = chances[order] <= level / (len(chances) - np.arange(len(chances)))
    accepted = np.zeros(len(chances), bool)
    accepted[order[: len(steps) if steps.all() else int(np.argmin(steps))]] = True
    return accepted
