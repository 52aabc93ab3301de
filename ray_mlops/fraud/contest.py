"""Candidates fitted on the earlier part of the data and judged on the later part, in ranking and in money."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from ray_mlops.algorithms.ranking import average_precision, ranking
from ray_mlops.fraud import candidates
from ray_mlops.fraud.candidates import Candidate, Kind, Lesson
from ray_mlops.fraud.costs import cheapest_threshold
from ray_mlops.fraud.intervals import Metric, day_index, estimate, total

HELD_OUT = 0.25  # share of the earlier part, its end, on which the models' thresholds are chosen


@dataclass(frozen=True)
class Standing:
    """How a candidate did on the later part. `held_out` is its average precision before that, on rows it was not
    fitted on, by which the better of two models is told without a look at the later part."""

    candidate: Candidate
    threshold: float
    held_out: float
    average_precision: Metric
    savings: Metric
    alerts: int
    caught: int
    positives: int

    @property
    def kind(self) -> Kind:
        return self.candidate.kind

    def figures(self, draws: np.ndarray, confidence: float) -> dict[str, float]:
        """Flat figures; those which are undefined (the precision of no alerts) are left out."""
        ap, money = (estimate(metric, draws, confidence) for metric in (self.average_precision, self.savings))
        found = {
            "average_precision": ap.value, "average_precision_low": ap.low, "average_precision_high": ap.high,
            "savings": money.value, "savings_low": money.low, "savings_high": money.high,
            "alerts": float(self.alerts),
            "precision": self.caught / self.alerts if self.alerts else float("nan"),
            "recall": self.caught / self.positives if self.positives else float("nan"),
        }  # fmt: skip
        return {name: value for name, value in found.items() if np.isfinite(value)}


@dataclass(frozen=True)
class Contest:
    """All standings on one later part of `days` days, in which `stolen` is the money lost when nobody looks."""

    standings: tuple[Standing, ...]
    days: int
    stolen: float

    def of(self, kinds: Sequence[Kind]) -> list[Standing]:
        """The standings of some kinds, in their order here."""
        return [standing for standing in self.standings if standing.kind in kinds]

    @property
    def by_kind(self) -> Mapping[Kind, Standing]:
        return {standing.kind: standing for standing in self.standings}


def hold(earlier: Lesson, later: Lesson, seconds: np.ndarray, *, seed: int) -> Contest:
    """Fit every candidate on `earlier` (rows in event-time order, both classes present), choose its threshold there by
    money, and judge it on `later`, whose event times are `seconds`, `(rows,)`."""
    _, days = day_index(seconds)
    count = int(days.max(initial=0)) + 1
    simple = (candidates.constant, candidates.single_feature, candidates.hand_rule)
    fitted: list[tuple[Candidate, tuple[np.ndarray, Lesson] | None]] = [
        (candidate, None) for fit in simple if (candidate := fit(earlier)) is not None
    ]
    with ThreadPoolExecutor(1) as side:  # both fits of a model at once: each takes one thread
        for fit in (partial(candidates.linear, seed=seed), partial(candidates.boosting, seed=seed)):
            whole = side.submit(fit, earlier)
            before = _before(fit, earlier)
            fitted.append((whole.result(), before))
    standings = tuple(_judge(candidate, before, earlier, later, (days, count)) for candidate, before in fitted)
    return Contest(standings, count, float(later.stolen.sum()))


def _before(fit: Callable[[Lesson], Candidate], earlier: Lesson) -> tuple[np.ndarray, Lesson] | None:
    """Scores of the end of the earlier part by a model fitted on the rest of it: what a model says of the rows it
    learnt from is no guide to a threshold. None when one of the two has no positive."""
    cut = int(len(earlier.labels) * (1 - HELD_OUT))
    start, end = earlier.take(np.arange(cut)), earlier.take(np.arange(cut, len(earlier.labels)))
    if not all(0 < part.labels.sum() < len(part.labels) for part in (start, end)):
        return None
    return fit(start).score(end.matrix), end


def _judge(
    candidate: Candidate,
    before: tuple[np.ndarray, Lesson] | None,
    earlier: Lesson,
    later: Lesson,
    blocks: tuple[np.ndarray, int],
) -> Standing:
    known, lesson = before if before is not None else (candidate.score(earlier.matrix), earlier)
    threshold = cheapest_threshold(known, lesson.stolen - lesson.review)
    scores = candidate.score(later.matrix)
    alerts = scores >= threshold
    return Standing(
        candidate=candidate,
        threshold=threshold,
        held_out=average_precision(lesson.labels, known),
        average_precision=ranking(later.labels, scores, *blocks).average_precision,
        savings=total((later.stolen - later.review) * alerts, *blocks),
        alerts=int(alerts.sum()),
        caught=int((alerts & (later.labels > 0)).sum()),
        positives=int((later.labels > 0).sum()),
    )
