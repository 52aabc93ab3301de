"""Does the model still decide by the same features? The order of their importance, by NDCG, as SageMaker Clarify had it."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from ray_mlops.monitoring import chance
from ray_mlops.monitoring.readings import Reading

AGREEMENT = 0.90  # below this the attributions have drifted
_REPLICATES = 100


def importance(names: tuple[str, ...], contributions: np.ndarray) -> dict[str, float]:
    """The mean size of the contributions `(rows, features)` of each feature."""
    return dict(zip(names, np.abs(contributions).mean(axis=0).tolist(), strict=True))


def ndcg(before: np.ndarray, now: np.ndarray) -> float:
    """How well the order of importances `now` ranks those `before`, `(features,)` each: 1 where it is the same."""
    discounts = 1 / np.log2(np.arange(len(before)) + 2)
    ideal = float((np.sort(before)[::-1] * discounts).sum())
    return float((before[np.argsort(-now, kind="stable")] * discounts).sum()) / ideal if ideal > 0 else 1.0


def compare(before: Mapping[str, float], names: tuple[str, ...], contributions: np.ndarray) -> Iterator[Reading]:
    """The contributions of live rows `(rows, features)` beside the importances in training; by a bootstrap of the rows."""
    if not before or not len(contributions):
        return
    known, sizes = np.array([before[name] for name in names]), np.abs(contributions)
    found, random = ndcg(known, sizes.mean(axis=0)), np.random.default_rng(0)
    drawn = random.integers(0, len(sizes), (_REPLICATES, len(sizes)))
    error = float(np.std([ndcg(known, sizes[rows].mean(axis=0)) for rows in drawn]))
    z = (AGREEMENT - found) / max(error, 1e-9)
    moved = sorted(zip(names, sizes.mean(axis=0) / sizes.mean(axis=0).sum(), strict=True), key=lambda one: -one[1])[:3]
    first = ", ".join(f"{name} {share:.0%}" for name, share in moved if math.isfinite(share))
    yield Reading(
        monitor="attribution drift",
        name="importance of features",
        rows=len(contributions),
        effect=1 - found,
        limit=1 - AGREEMENT,
        chance=chance.normal(z),
        words=f"NDCG {found:.3f}, at least {AGREEMENT:g} is wanted; first are {first}",
        measures={"ndcg": found, "error": error},
    )
