"""The curves behind an evaluation, thinned to what a chart can show."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np

from ray_mlops.algorithms.ranking import precision_recall
from ray_mlops.fraud.appraisal import Judged, Review, Scored
from ray_mlops.fraud.calibration import logit, reliability
from ray_mlops.fraud.cards import daily_reviews
from ray_mlops.fraud.costs import Costs, cost_curve
from ray_mlops.fraud.intervals import day_sums

Rows = list[dict[str, Any]]

POINTS = 150
_SCORE_BINS = 48
_WIDEST = 12.0  # log-odds at which the scores of a chart end
# Rare events live at low probabilities: equal widths would put nearly all rows into one point.
_PROBABILITIES = np.array([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9])
_MOST_ALERTS = 0.05  # of the rows: nobody reviews more, and the interesting end of the curve is at its start


def all_curves(
    judged: Judged, scored: Scored, rivals: Mapping[str, Scored], *, costs: Costs, review: Review
) -> dict[str, Rows]:
    """Rows for the charts by name: precision_recall, cost, calibration, days, scores."""
    everyone = {"model": scored, **rivals}
    return {
        "precision_recall": [row for name, one in everyone.items() for row in _precision_recall(name, judged, one)],
        "cost": [row for name, one in everyone.items() for row in _cost(name, judged, one, costs)],
        "calibration": _calibration(judged, scored),
        "days": _days(judged, scored, costs, review),
        "scores": _scores(judged, scored),
    }


def _precision_recall(name: str, judged: Judged, scored: Scored) -> Rows:
    curve = precision_recall(judged.labels, scored.scores)
    return [
        {"of": name, "recall": float(curve.recall[i]), "precision": float(curve.precision[i])}
        for i in _kept(len(curve.recall))
    ]


def _cost(name: str, judged: Judged, scored: Scored, costs: Costs) -> Rows:
    curve = cost_curve(scored.scores, judged.stolen - costs.review)
    shown = int(np.searchsorted(curve.alerts, _MOST_ALERTS * len(judged.labels), side="right"))
    return [{"of": name, "alerts a day": 0.0, "savings": 0.0}] + [
        {"of": name, "alerts a day": float(curve.alerts[i] / judged.count), "savings": float(curve.savings[i])}
        for i in _kept(max(shown, 1))
    ]


def _calibration(judged: Judged, scored: Scored) -> Rows:
    if scored.probabilities is None:
        return []
    found = reliability(scored.probabilities, judged.labels, judged.days, judged.count, edges=_PROBABILITIES).bins()
    return [{"predicted": mean, "observed": share, "rows": rows} for mean, share, rows in found]


def _days(judged: Judged, scored: Scored, costs: Costs, review: Review) -> Rows:
    blocks = (judged.days, judged.count)
    sums = {
        "transactions": day_sums(np.ones(len(judged.labels)), *blocks),
        "frauds": day_sums(judged.labels, *blocks),
        "alerts": day_sums(scored.alerts, *blocks),
        "caught": day_sums(judged.labels & scored.alerts, *blocks),
        "savings": day_sums((judged.stolen - costs.review) * scored.alerts, *blocks),
    }
    if judged.cards is not None:
        k = review.cards
        reviews = daily_reviews(judged.cards, scored.scores, judged.labels, judged.days, k=k)
        sums |= {"compromised cards": reviews.compromised, f"found in {k} reviews": reviews.found}
    rows = []
    for position, day in enumerate(judged.dates.tolist()):
        rows.append({"day": (date(1970, 1, 1) + timedelta(days=day)).isoformat()})
        rows[-1] |= {name: float(values[position]) for name, values in sums.items()}
    return rows


def _scores(judged: Judged, scored: Scored) -> Rows:
    """Shares of both classes by log-odds, which spread the low scores that nearly all rows have."""
    odds = logit(scored.scores).clip(-_WIDEST, _WIDEST)
    edges = np.linspace(-_WIDEST, _WIDEST, _SCORE_BINS + 1)
    rows: Rows = []
    for name, chosen in (("fraud", judged.labels), ("honest", ~judged.labels)):
        counts, _ = np.histogram(odds[chosen], bins=edges)
        share = counts / max(int(chosen.sum()), 1)
        middle = (edges[:-1] + edges[1:]) / 2
        points = zip(middle.tolist(), share.tolist(), strict=True)
        rows += [{"of": name, "log-odds of the score": at, "share": part} for at, part in points]
    return rows


def _kept(count: int) -> list[int]:
    """At most `POINTS` positions below `count`, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int)).tolist() if count else []
