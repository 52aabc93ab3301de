"""All candidates on the same images: each learns from some and names the classes of others."""

from collections.abc import Sequence

import numpy as np

from ray_mlops.vision.candidates import NETWORK, SIMPLE, Material
from ray_mlops.vision.metrics import confusion_matrix
from ray_mlops.vision.verdict import Standing


def hold(
    found: Material, folds: Sequence[tuple[np.ndarray, np.ndarray]], classes: int, *, seed: int
) -> dict[str, Standing]:
    """The standing of every candidate, by kind, on all judged rows in their order.

    A fold is two masks `(rows,)`: what is learned from, and what is judged by it; no row is judged in two folds.
    """
    judged = np.any([later for _, later in folds], axis=0)
    labels = found.labels[judged]
    standings = {}
    for candidate in (*SIMPLE.values(), NETWORK):
        named = np.zeros(len(judged), np.int64)
        for earlier, later in folds:
            named[later] = candidate.predict(found.only(earlier), found.only(later), classes, seed)
        told = named[judged]
        counts = confusion_matrix(told, labels, classes)
        known = counts.sum(axis=1)
        recalls = counts.diagonal()[known > 0] / known[known > 0]
        figures = {"accuracy": float((told == labels).mean()), "macro_recall": float(recalls.mean())}
        standings[candidate.kind] = Standing(candidate, told == labels, figures)
    return standings
