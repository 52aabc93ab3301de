"""All candidates on the same images: each learns from the earlier part and names the classes of the judged one."""

import numpy as np

from ray_mlops.vision.candidates import NETWORK, SIMPLE, Material
from ray_mlops.vision.metrics import confusion_matrix
from ray_mlops.vision.verdict import Standing


def hold(earlier: Material, later: Material, classes: int, *, seed: int) -> dict[str, Standing]:
    """The standing of every candidate, by kind."""
    standings = {}
    for candidate in (*SIMPLE.values(), NETWORK):
        told = np.asarray(candidate.predict(earlier, later, classes, seed), np.int64)
        counts = confusion_matrix(told, later.labels, classes)
        known = counts.sum(axis=1)
        recalls = counts.diagonal()[known > 0] / known[known > 0]
        figures = {"accuracy": float((told == later.labels).mean()), "macro_recall": float(recalls.mean())}
        standings[candidate.kind] = Standing(candidate, told == later.labels, figures)
    return standings
