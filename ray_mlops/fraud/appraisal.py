"""How good scores are on judged rows: every figure of an evaluation as a metric that can be resampled by day."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from ray_mlops.algorithms.ranking import ranking
from ray_mlops.contract import Frozen
from ray_mlops.fraud.calibration import Calibration, reliability
from ray_mlops.fraud.cards import daily_reviews
from ray_mlops.fraud.costs import Costs, budget_threshold, cheapest_threshold, precise_threshold
from ray_mlops.fraud.intervals import Metric, day_index, ratio, total

NEVER = 2.0  # a score is in [0, 1], so this threshold is never reached; unlike infinity it travels as JSON


class Review(Frozen):
    """The reviews a team can do: `cards` a day for the card figures, the false-positive rate at which recall is told."""

    cards: int = Field(default=100, ge=1)
    max_fpr: float = Field(default=0.01, gt=0, lt=1)

    @property
    def recall(self) -> str:
        """The name of the recall at the false-positive rate: `recall_at_1pct_fpr`."""
        return f"recall_at_{100 * self.max_fpr:g}pct_fpr"


@dataclass(frozen=True)
class Judged:
    """Rows to judge scores on, `(rows,)` each: labels (bool), the money each loses when missed, the position of its
    day among the `count` days, and the code of its card (-1: none), where there are cards."""

    labels: np.ndarray
    stolen: np.ndarray
    days: np.ndarray
    count: int
    dates: np.ndarray
    cards: np.ndarray | None = None

    @classmethod
    def of(cls, labels: np.ndarray, stolen: np.ndarray, seconds: np.ndarray, cards: np.ndarray | None) -> "Judged":
        """Rows with their event times in seconds since the epoch."""
        dates, days = day_index(seconds)
        return cls(np.asarray(labels) > 0, stolen, days, len(dates), dates, cards)

    def take(self, rows: np.ndarray) -> "Judged":
        """Some of the rows (mask), over the same days."""
        cards = None if self.cards is None else self.cards[rows]
        return replace(self, labels=self.labels[rows], stolen=self.stolen[rows], days=self.days[rows], cards=cards)


@dataclass(frozen=True)
class Scored:
    """What was said of the judged rows: scores, which rows were alerted, and probabilities where there are any."""

    scores: np.ndarray
    alerts: np.ndarray
    probabilities: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "Scored":
        """Some of the rows (mask)."""
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        return Scored(self.scores[rows], self.alerts[rows], probabilities)


def constant(rows: int) -> Scored:
    """Every row alike and no alert."""
    return Scored(np.zeros(rows), np.zeros(rows, dtype=bool))


def metrics(judged: Judged, scored: Scored, costs: Costs, review: Review) -> dict[str, Metric]:
    """All metrics by name; those of cards and of probabilities only where there are any."""
    blocks = (judged.days, judged.count)
    ranks = ranking(judged.labels, scored.scores, *blocks)
    found: dict[str, Metric] = {
        "average_precision": ranks.average_precision,
        "roc_auc": ranks.roc_auc,
        review.recall: partial(ranks.recall_at_fpr, limit=review.max_fpr),
        "precision": ratio(judged.labels & scored.alerts, scored.alerts, *blocks),
        "recall": ratio(judged.labels & scored.alerts, judged.labels, *blocks),
        "value_recall": ratio(judged.stolen * scored.alerts, judged.stolen, *blocks),
        "savings": total((judged.stolen - costs.review) * scored.alerts, *blocks),
    }
    if judged.cards is not None:
        reviews = daily_reviews(judged.cards, scored.scores, judged.labels, judged.days, k=review.cards)
        found[f"card_precision_at_{review.cards}"] = reviews.precision()
        found[f"card_recall_at_{review.cards}"] = reviews.recall()
    if scored.probabilities is not None:
        found["ece"] = reliability(scored.probabilities, judged.labels, *blocks).ece
    return found


def attainable(judged: Judged, review: Review) -> dict[str, float]:
    """What a perfect score attains where that is not 1: the card figures."""
    if judged.cards is None:
        return {}
    reviews = daily_reviews(judged.cards, judged.labels, judged.labels, judged.days, k=review.cards)
    everything = np.ones((1, judged.count))
    return {
        f"card_precision_at_{review.cards}_attainable": float(reviews.precision()(everything)[0]),
        f"card_recall_at_{review.cards}_attainable": float(reviews.recall()(everything)[0]),
    }


class Policy(Frozen):
    """How thresholds are chosen on validation.

    `review` is where savings are highest (`by="cost"`) or where `alerts_per_day` are reached (`by="budget"`). `block`
    is the lowest score from which on the share of frauds is `block_precision`, never below `review`.
    """

    by: Literal["cost", "budget"] = "cost"
    alerts_per_day: float = Field(default=100.0, gt=0)
    block_precision: float = Field(default=0.9, gt=0, le=1)

    def thresholds(
        self, scores: np.ndarray, judged: Judged, costs: Costs, *, length_days: float
    ) -> Mapping[str, float]:
        """Review and block, from validation scores; `length_days` is how long validation lasted. 2 means never."""
        if self.by == "cost":
            review = cheapest_threshold(scores, judged.stolen - costs.review)
        else:
            review = budget_threshold(scores, self.alerts_per_day * length_days)
        block = max(review, precise_threshold(scores, judged.labels, self.block_precision))
        return {"review": min(review, NEVER), "block": min(block, NEVER)}


def scored(scores: np.ndarray, calibration: Calibration, thresholds: Mapping[str, float]) -> Scored:
    """Scores with the probabilities and alerts (review or block) that follow."""
    return Scored(scores, scores >= min(thresholds.values()), calibration.apply(scores))
