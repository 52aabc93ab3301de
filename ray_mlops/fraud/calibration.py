"""Probabilities from scores: a monotone, piecewise-linear map fitted on validation rows.

The map is two equally long tuples, so that it travels as JSON and is applied by one `interp` at the endpoint.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ray_mlops.algorithms.ranking import divide

if TYPE_CHECKING:
    from collections.abc import Mapping

Method = Literal["auto", "isotonic", "platt"]

ISOTONIC_POSITIVES = 200  # with fewer, an isotonic fit follows the noise of single frauds
POINTS = 64
ECE_BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Probability at each of a rising sequence of scores; linear in between, constant outside."""

    score: tuple[float, ...]
    probability: tuple[float, ...]

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities, float64, of scores `(rows,)`."""
        return np.interp(scores, self.score, self.probability)

    def points(self) -> "Mapping[str, tuple[float, ...]]":
        """The form in which it travels in an evaluation and a bundle."""
        return {"score": self.score, "probability": self.probability}


IDENTITY = Calibration((0.0, 1.0), (0.0, 1.0))


def fit(scores: np.ndarray, labels: np.ndarray, method: Method = "auto") -> Calibration:
    """Fit on held-out rows; `auto` is isotonic from 200 positives on, else Platt's sigmoid. The identity when one
    class is absent."""
    labels = (np.asarray(labels) > 0).astype(np.float64)
    scores = np.asarray(scores, dtype=np.float64)
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        return IDENTITY
    if method == "isotonic" or (method == "auto" and positives >= ISOTONIC_POSITIVES):
        return _thinned(*_isotonic(scores, labels))
    return _thinned(*_platt(scores, labels))


def _isotonic(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, labels)
    # Nothing is certain: a block of n rows without a fraud does not make a fraud impossible.
    floor = 0.5 / (len(labels) + 1)
    return fitted.X_thresholds_, np.clip(fitted.y_thresholds_, floor, 1 - floor)


def _platt(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e4, max_iter=200).fit(logit(scores)[:, None], labels)
    # Dense where the scores lie and even over their whole range: both ends of the sigmoid are kept.
    grid = np.unique(
        np.r_[np.quantile(scores, np.linspace(0, 1, POINTS)), np.linspace(scores.min(), scores.max(), POINTS)]
    )
    slope = max(float(fitted.coef_[0, 0]), 0.0)
    return grid, 1 / (1 + np.exp(-(slope * logit(grid) + float(fitted.intercept_[0]))))


def logit(scores: np.ndarray) -> np.ndarray:
    """Log-odds of scores in [0, 1], finite at both ends."""
    inside = np.clip(scores, 1e-7, 1 - 1e-7)
    return np.log(inside / (1 - inside))


def _thinned(scores: np.ndarray, probabilities: np.ndarray) -> Calibration:
    """At most `POINTS` points, always with both ends, chosen evenly along the rise of score and probability."""
    if len(scores) > POINTS:
        steps = np.diff(scores) / max(np.ptp(scores), 1e-12) + np.diff(probabilities) / max(
            np.ptp(probabilities), 1e-12
        )
        along = np.r_[0.0, np.cumsum(steps)]
        kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], POINTS)).clip(0, len(scores) - 1))
        scores, probabilities = scores[kept], probabilities[kept]
    rising = np.maximum.accumulate(probabilities)
    return Calibration(tuple(map(float, scores)), tuple(map(float, rising)))


@dataclass(frozen=True)
class Reliability:
    """Sums by bin of predicted probability and by day, `(bins, days)`: rows, probability, positives."""

    rows: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray

    def ece(self, weights: np.ndarray) -> np.ndarray:
        """Expected calibration error per replicate: the mean distance of prediction from frequency, by rows."""
        gaps = np.abs((self.predicted - self.observed) @ weights.T).sum(axis=0)
        return divide(gaps, weights @ self.rows.sum(axis=0))

    def bins(self) -> list[tuple[float, float, int]]:
        """Mean prediction, frequency and number of rows of each bin that has rows."""
        rows, predicted, observed = (part.sum(axis=1) for part in (self.rows, self.predicted, self.observed))
        filled = np.flatnonzero(rows)
        return [(float(predicted[i] / rows[i]), float(observed[i] / rows[i]), int(rows[i])) for i in filled]


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, days: np.ndarray, count: int, *, edges: np.ndarray | None = None
) -> Reliability:
    """Bin rows by predicted probability: 15 bins of equal width unless inner `edges` are given."""
    edges = np.arange(1, ECE_BINS) / ECE_BINS if edges is None else edges
    cell = np.searchsorted(edges, probabilities, side="right") * count + days
    cells = (len(edges) + 1) * count

    def sums(values: np.ndarray | None) -> np.ndarray:
        return np.bincount(cell, weights=values, minlength=cells).reshape(-1, count).astype(np.float64)

    return Reliability(sums(None), sums(probabilities), sums(np.asarray(labels, dtype=np.float64)))


def ece(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error over 15 bins of equal width."""
    days = np.zeros(len(probabilities), dtype=np.int64)
    return float(reliability(np.asarray(probabilities), labels, days, 1).ece(np.ones((1, 1)))[0])
