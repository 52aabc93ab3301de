"""Ranking metrics of scores, by day and therefore cheap to bootstrap.

The plain functions take labels and scores of all rows. `Ranking` keeps the same information as counts by day at each
distinct score of a positive, which is all that average precision, ROC AUC and recall at a false-positive rate depend
on; its methods are `Metric`s (see `intervals`). Rows with equal scores are taken together, as scikit-learn does.
"""

from dataclasses import dataclass

import numpy as np

from ray_mlops.errors import DataError


def divide(part: np.ndarray, whole: np.ndarray, *, empty: float = float("nan")) -> np.ndarray:
    """Elementwise quotient; `empty` where the divisor is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), empty), where=np.asarray(whole) > 0)


@dataclass(frozen=True)
class Ranking:
    """Counts by day at the T distinct scores of positives, highest first.

    `hits` `(T, days)` are the positives at a score, `rivals` the negatives at or above it, `level` the negatives
    exactly at it; `positives` and `negatives` `(days,)` are all of them.
    """

    hits: np.ndarray
    rivals: np.ndarray
    level: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Average precision per replicate; NaN without positives. Weights are `(replicates, days)`."""
        hits = self.hits @ weights.T
        caught = np.cumsum(hits, axis=0)
        precision = divide(caught, caught + self.rivals @ weights.T, empty=0.0)
        return divide((hits * precision).sum(axis=0), weights @ self.positives)

    def roc_auc(self, weights: np.ndarray) -> np.ndarray:
        """Area under the ROC curve per replicate; NaN where a class is absent."""
        below = self.negatives - self.rivals + self.level / 2
        won = np.einsum("rd,de,re->r", weights, self.hits.T @ below, weights)
        return divide(won, (weights @ self.positives) * (weights @ self.negatives))

    def recall_at_fpr(self, weights: np.ndarray, limit: float) -> np.ndarray:
        """The highest recall of a threshold whose false-positive rate is at most `limit`, per replicate."""
        allowed = self.rivals @ weights.T <= limit * (weights @ self.negatives)
        caught = np.cumsum(self.hits @ weights.T, axis=0)
        return divide(np.max(caught * allowed, axis=0, initial=0.0), weights @ self.positives)


def ranking(labels: np.ndarray, scores: np.ndarray, days: np.ndarray | None = None, count: int = 1) -> Ranking:
    """Count labels (0/1) and finite scores, `(rows,)` each, by day; `days` are positions below `count`."""
    scores = np.asarray(scores)
    if not np.isfinite(scores).all():
        raise DataError(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are NaN or infinite")
    positive = np.asarray(labels) > 0
    days = np.zeros(len(scores), dtype=np.int64) if days is None else days
    # Ascending inside; everything is turned round at the end.
    levels, found = np.unique(scores[positive], return_inverse=True)
    hits = np.bincount(found * count + days[positive], minlength=len(levels) * count).reshape(-1, count)
    below = np.empty((len(levels), count), dtype=np.int64)
    up_to = np.empty_like(below)
    for day in range(count):
        rivals = np.sort(scores[(days == day) & ~positive])
        below[:, day] = np.searchsorted(rivals, levels, side="left")
        up_to[:, day] = np.searchsorted(rivals, levels, side="right")
    negatives = np.bincount(days[~positive], minlength=count)
    return Ranking(
        hits=hits[::-1].astype(np.float64),
        rivals=(negatives - below)[::-1].astype(np.float64),
        level=(up_to - below)[::-1].astype(np.float64),
        positives=np.bincount(days[positive], minlength=count).astype(np.float64),
        negatives=negatives.astype(np.float64),
    )


_ONCE = np.ones((1, 1))


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Average precision (the step-wise area under the precision-recall curve); NaN without positives."""
    return float(ranking(labels, scores).average_precision(_ONCE)[0])


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve, ties counting half; NaN where a class is absent."""
    return float(ranking(labels, scores).roc_auc(_ONCE)[0])


def recall_at_fpr(labels: np.ndarray, scores: np.ndarray, limit: float = 0.01) -> float:
    """Share of positives caught by the lowest threshold whose false-positive rate is at most `limit`."""
    return float(ranking(labels, scores).recall_at_fpr(_ONCE, limit)[0])


@dataclass(frozen=True)
class Curve:
    """Precision and recall at falling thresholds."""

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def precision_recall(labels: np.ndarray, scores: np.ndarray) -> Curve:
    """The precision-recall curve at each distinct score of a positive, highest first."""
    positive = np.asarray(labels) > 0
    counts = ranking(labels, scores)
    caught = np.cumsum(counts.hits[:, 0])
    precision = divide(caught, caught + counts.rivals[:, 0])
    return Curve(np.unique(np.asarray(scores)[positive])[::-1], precision, divide(caught, caught[-1:]))
