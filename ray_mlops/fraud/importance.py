"""Which features a model looks at, over many rows: from its own contributions where they add up, else by permutation.

Contributions add up when, with a constant, they give the score or its log-odds; then their mean size is the global SHAP
importance (TreeSHAP for boosting). Whatever model does not keep that promise, a user's own perhaps, is asked again with one
column shuffled at a time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ray_mlops.algorithms.ranking import average_precision
from ray_mlops.contract import Model

DRAWN_FEATURES = 10  # of which single rows are drawn
DRAWN_ROWS = 150
_REPEATS = 5
_FEWEST_ROWS = 10
_TOLERANCE = 0.02  # of log-odds or of score: float32 sums of many trees differ by less
_STEEP = 0.3  # rank correlation from which a direction is named

Entry = dict[str, Any]


def importance(
    model: Model, rows: np.ndarray, labels: np.ndarray, names: Sequence[str], *, weights: np.ndarray, seed: int
) -> Entry:
    """The features by importance, strongest first, from rows `(rows, features)` float32, labels and weights `(rows,)`.

    `method` is `contributions` (mean absolute contribution to the log-odds, also over the frauds alone, with `points` of
    single rows) or `permutation` (loss of average precision when the column is shuffled, with its standard deviation).
    """
    if not len(rows) or not names:
        return {"method": "none", "rows": len(rows), "features": [], "points": []}
    contributions = np.asarray(model.explain(rows), dtype=np.float64)
    if contributions.shape == rows.shape and _add_up(contributions, np.asarray(model.predict(rows))):
        return _from_contributions(contributions, rows, labels > 0, weights, names)
    return _by_permutation(model, rows, labels > 0, names, seed)


def _add_up(contributions: np.ndarray, scores: np.ndarray) -> bool:
    sums, scores = contributions.sum(axis=1), scores.astype(np.float64)
    inside = (scores > 1e-4) & (scores < 1 - 1e-4)  # beyond, a float32 score has too few digits for its log-odds
    if inside.sum() < _FEWEST_ROWS:
        return False
    odds = np.log(scores[inside] / (1 - scores[inside]))
    return any(_constant(known - sums[inside]) for known in (odds, scores[inside]))


def _constant(rest: np.ndarray) -> bool:
    return bool(np.quantile(np.abs(rest - np.median(rest)), 0.95) <= _TOLERANCE)


def _from_contributions(
    contributions: np.ndarray, rows: np.ndarray, positive: np.ndarray, weights: np.ndarray, names: Sequence[str]
) -> Entry:
    size = np.abs(contributions)
    overall = np.average(size, axis=0, weights=weights)
    frauds = np.average(size[positive], axis=0, weights=weights[positive]) if positive.any() else None
    order = np.argsort(-overall, kind="stable")
    found = [
        {
            "feature": names[place],
            "importance": float(overall[place]),
            "on_frauds": None if frauds is None else float(frauds[place]),
            "direction": _direction(rows[:, place], contributions[:, place]),
        }
        for place in order
    ]
    points = _points(contributions, rows, order[:DRAWN_FEATURES], names)
    return {"method": "contributions", "rows": len(rows), "features": found, "points": points}


def _direction(values: np.ndarray, contributions: np.ndarray) -> str:
    from scipy.stats import rankdata

    known = np.isfinite(values)
    if known.sum() < _FEWEST_ROWS or np.ptp(values[known]) == 0 or np.ptp(contributions[known]) == 0:
        return ""
    slope = np.corrcoef(rankdata(values[known]), rankdata(contributions[known]))[0, 1]
    return "higher raises the risk" if slope > _STEEP else "higher lowers the risk" if slope < -_STEEP else "mixed"


def _points(contributions: np.ndarray, rows: np.ndarray, places: np.ndarray, names: Sequence[str]) -> list[Entry]:
    """Evenly spaced rows of each feature by the rank of its contribution, so that both ends are drawn."""
    found = []
    for place in places:
        ranked = np.argsort(contributions[:, place], kind="stable")
        chosen = ranked[np.unique(np.linspace(0, len(ranked) - 1, DRAWN_ROWS).astype(np.int64))]
        values = rows[:, place]
        known = np.sort(values[np.isfinite(values)])
        for row in chosen:
            value = float(values[row])
            share = float(np.searchsorted(known, value) / max(len(known) - 1, 1)) if np.isfinite(value) else None
            found.append({
                "feature": names[place], "contribution": float(f"{contributions[row, place]:.5g}"),
                "value": float(f"{value:.6g}") if np.isfinite(value) else None,
                "rank of the value": None if share is None else round(min(share, 1.0), 3),
            })  # fmt: skip
    return found


def _by_permutation(model: Model, rows: np.ndarray, positive: np.ndarray, names: Sequence[str], seed: int) -> Entry:
    if not 0 < positive.sum() < len(positive):
        return {"method": "permutation", "rows": len(rows), "features": [], "points": []}
    generator = np.random.Generator(np.random.PCG64(seed))
    whole = average_precision(positive, np.asarray(model.predict(rows)))
    losses: Mapping[str, np.ndarray] = {
        name: np.array([whole - _shuffled(model, rows, positive, place, generator) for _ in range(_REPEATS)])
        for place, name in enumerate(names)
    }
    found: list[Entry] = [
        {"feature": name, "importance": float(lost.mean()), "spread": float(lost.std(ddof=1))}
        for name, lost in losses.items()
    ]
    found.sort(key=lambda row: -row["importance"])
    return {"method": "permutation", "rows": len(rows), "features": found, "points": []}


def _shuffled(
    model: Model, rows: np.ndarray, positive: np.ndarray, place: int, generator: np.random.Generator
) -> float:
    changed = rows.copy()
    changed[:, place] = generator.permutation(changed[:, place])
    return average_precision(positive, np.asarray(model.predict(changed)))
