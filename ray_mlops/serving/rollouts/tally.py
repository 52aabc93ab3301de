"""What replicas count during a step of a rollout: mergeable, of fixed size, and without what was asked."""

import math
from bisect import bisect_right
from typing import Any, NamedTuple, Self

import numpy as np

from ray_mlops.contract import Frozen

CHAMPION, CHALLENGER = "champion", "challenger"
_GROWTH = 1.1
_SHORTEST_S = 1e-4
LATENCY_EDGES_S = tuple(_SHORTEST_S * _GROWTH**power for power in range(146))  # 0.1 ms to 100 s
# Scores of rare events crowd near zero: the bins are even in log-odds, half a unit wide.
SCORE_EDGES = tuple(1 / (1 + math.exp(-half / 2)) for half in range(-18, 19))


class Counts(Frozen):
    """Counts that can be added, and taken off what they have grown to."""

    def plus(self, other: Self) -> Self:
        """Both together."""
        return self._with(other, 1)

    def minus(self, other: Self) -> Self:
        """What has come since."""
        return self._with(other, -1)

    def _with(self, other: Self, sign: int) -> Self:
        names = type(self).model_fields
        return type(self)(**{name: _added(getattr(self, name), getattr(other, name), sign) for name in names})


class Lane(Counts):
    """Requests of one variant: how many, how many failed, and a histogram of seconds, one bin more than `LATENCY_EDGES_S`."""

    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = (0,) * (len(LATENCY_EDGES_S) + 1)

    def quantile_s(self, probability: float) -> float:
        """The upper edge of the bin that holds a quantile of the seconds; NaN of no requests."""
        total = sum(self.latency)
        if not total:
            return math.nan
        place = bisect_right(np.cumsum(self.latency).tolist(), probability * total - 1e-9)
        return LATENCY_EDGES_S[min(place, len(LATENCY_EDGES_S) - 1)]

    def beyond(self, seconds: float) -> int:
        """How many took longer than an edge of the histogram."""
        return sum(self.latency[bisect_right(LATENCY_EDGES_S, seconds * (1 - 1e-9)) + 1 :])


class Pairs(Counts):
    """Questions that both variants answered: how many in all, with the same decision, with an alert of both or of one only, and
    histograms of the scores, one bin more than `SCORE_EDGES`."""

    count: int = 0
    alike: int = 0
    both: int = 0
    only_champion: int = 0
    only_challenger: int = 0
    champion_scores: tuple[int, ...] = (0,) * (len(SCORE_EDGES) + 1)
    challenger_scores: tuple[int, ...] = (0,) * (len(SCORE_EDGES) + 1)


class Tally(Counts):
    """One step. `path` lanes are of requests that callers waited for, chosen by the weight; `beside` lanes and `pairs` of copies
    that both variants answered in the side process; `dropped` copies found no room."""

    champion: Lane = Lane()
    challenger: Lane = Lane()
    beside_champion: Lane = Lane()
    beside_challenger: Lane = Lane()
    pairs: Pairs = Pairs()
    copied: int = 0
    dropped: int = 0


class LaneCounter:
    """A `Lane` that is being counted, by one thread."""

    def __init__(self) -> None:
        self._requests = self._errors = 0
        self._latency = [0] * (len(LATENCY_EDGES_S) + 1)

    def add(self, seconds: float, *, failed: bool = False) -> None:
        """Count a request."""
        self._requests += 1
        self._errors += failed
        self._latency[bisect_right(LATENCY_EDGES_S, seconds)] += 1

    def lane(self) -> Lane:
        """What has been counted."""
        return Lane(requests=self._requests, errors=self._errors, latency=tuple(self._latency))


class Answers(NamedTuple):
    """What one variant says to some questions, `(questions,)` each: scores, decisions, and which of these are alerts."""

    scores: np.ndarray
    decisions: np.ndarray
    alerts: np.ndarray


def compared(champion: Answers, challenger: Answers) -> Pairs:
    """The pairs of two answers to the same questions."""
    first, second = champion.alerts, challenger.alerts
    return Pairs(
        count=len(first),
        alike=int(np.sum(champion.decisions == challenger.decisions)),
        both=int(np.sum(first & second)),
        only_champion=int(np.sum(first & ~second)),
        only_challenger=int(np.sum(second & ~first)),
        champion_scores=binned(champion.scores),
        challenger_scores=binned(challenger.scores),
    )


def binned(scores: np.ndarray) -> tuple[int, ...]:
    """The histogram of scores."""
    places = np.searchsorted(SCORE_EDGES, scores, side="right")
    return tuple(np.bincount(places, minlength=len(SCORE_EDGES) + 1).tolist())


def _added(one: Any, other: Any, sign: int) -> Any:
    if isinstance(one, tuple):
        return tuple(a + sign * b for a, b in zip(one, other, strict=True))
    if isinstance(one, Counts):
        return one.plus(other) if sign > 0 else one.minus(other)
    return one + sign * other
