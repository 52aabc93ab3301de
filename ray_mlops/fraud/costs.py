"""What alerts are worth in money, and the thresholds that follow from it.

A missed fraud costs its amount, a review costs a fixed sum. The savings of a set of alerts against reviewing nothing
are therefore the fraud amounts among them less their number times the cost of a review. A threshold alerts every score
at or above it; `inf` alerts nothing.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from ray_mlops.contract import Frozen


class Costs(Frozen):
    """Money: `review` is the cost of looking at one alert, `missed` that of a missed fraud whose amount is unknown
    (a table without an amount column)."""

    review: float = Field(default=5.0, ge=0)
    missed: float = Field(default=100.0, ge=0)

    def stolen(self, labels: np.ndarray, amounts: np.ndarray | None) -> np.ndarray:
        """The money each row loses when nobody looks, `(rows,)`: 0 for honest rows."""
        positive = np.asarray(labels) > 0
        return np.where(positive, self.missed if amounts is None else np.asarray(amounts, dtype=np.float64), 0.0)

    def worth(self, labels: np.ndarray, amounts: np.ndarray | None) -> np.ndarray:
        """The money an alert on each row saves, `(rows,)`; negative for honest rows."""
        return self.stolen(labels, amounts) - self.review


@dataclass(frozen=True)
class CostCurve:
    """Alerts and savings at each distinct score, highest first, as if it were the threshold."""

    thresholds: np.ndarray
    alerts: np.ndarray
    savings: np.ndarray


def cost_curve(scores: np.ndarray, worth: np.ndarray) -> CostCurve:
    """Savings against the threshold, for the worth of an alert on each row (`Costs.worth`)."""
    scores = np.asarray(scores)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], np.ones(min(len(ordered), 1), dtype=bool)])
    return CostCurve(ordered[ends], ends + 1, np.cumsum(np.asarray(worth)[order])[ends])


def cheapest_threshold(scores: np.ndarray, worth: np.ndarray) -> float:
    """The threshold with the highest savings; `inf` when no alert pays."""
    curve = cost_curve(scores, worth)
    if not len(curve.savings) or curve.savings.max() <= 0:
        return float("inf")
    return _between(curve.thresholds, int(curve.savings.argmax()))


def budget_threshold(scores: np.ndarray, alerts: float) -> float:
    """The lowest threshold that gives at most `alerts` alerts on these rows."""
    curve = cost_curve(scores, np.zeros(len(scores)))
    return _between(curve.thresholds, int(np.searchsorted(curve.alerts, alerts, side="right")) - 1)


def precise_threshold(scores: np.ndarray, labels: np.ndarray, precision: float, *, minimum: int = 10) -> float:
    """The lowest threshold above which at least `precision` of the rows are positive, judged on at least `minimum`
    rows; `inf` when there is none."""
    curve = cost_curve(scores, np.asarray(labels) > 0)
    enough = np.flatnonzero((curve.savings >= precision * curve.alerts) & (curve.alerts >= minimum))
    return _between(curve.thresholds, int(enough[-1]) if len(enough) else -1)


def _between(thresholds: np.ndarray, position: int) -> float:
    """A threshold that keeps the scores down to `position`: half-way to the next score, so that the last bit of a
    score computed elsewhere does not decide."""
    if position < 0:
        return float("inf")
    here = float(thresholds[position])
    following = float(thresholds[position + 1]) if position + 1 < len(thresholds) else here
    middle = (here + following) / 2
    return middle if middle > following else here
