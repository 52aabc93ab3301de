"""Evidence against "not worse" that may be looked at as often as one likes.

Somebody bets on the challenger being worse, at odds that are fair or poor as long as it is not. His capital is then a
non-negative supermartingale that begins at 1: that it ever reaches 1/a has a probability of at most a (Ville's inequality),
whenever one looks and whenever one stops. Several bettors, who stake different parts of what they can lose, share the
capital, so that both small and large differences are found soon (Waudby-Smith & Ramdas 2024, "Estimating means of bounded
random variables by betting").
"""

from collections.abc import Iterable, Sequence

import numpy as np

_STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95])

Outcome = tuple[float, int]  # what a bet of one pays, on average at most nothing under the null, and how often it came


def capital(*games: Sequence[Outcome]) -> float:
    """The logarithm of the capital after games with outcomes; in each the least outcome is below zero and is what a stake is
    measured by: a game where none is possible is no game. The order of outcomes does not matter."""
    logs = np.zeros(len(_STAKES))
    for outcomes in games:
        worst = min(pays for pays, _ in outcomes)
        assert worst < 0, outcomes
        for pays, times in outcomes:
            logs += times * np.log1p(_STAKES * (pays / -worst))
    return mean_of_logs(logs)


def share_above(limit: float, hits: int, misses: int) -> float:
    """The log capital against "the chance of a hit is at most `limit`"."""
    return capital([(1 - limit, hits), (-limit, misses)])


def ratio_beyond(tolerance: float, both: int, only_first: int, only_second: int) -> float:
    """The log capital against "the second marks between 1 - `tolerance` and 1 + `tolerance` times as many as the first", of
    pairs marked by both or by one."""
    more, fewer = 1 + tolerance, 1 - tolerance
    above = capital([(1 - more, both), (-more, only_first), (1.0, only_second)])
    below = capital([(fewer - 1, both), (fewer, only_first), (-1.0, only_second)])
    return mean_of_logs([above, below])


def mean_of_logs(logs: Iterable[float]) -> float:
    """The logarithm of the mean of the capitals with these logarithms."""
    given = np.fromiter(logs, float)
    return float(np.logaddexp.reduce(given) - np.log(len(given)))
