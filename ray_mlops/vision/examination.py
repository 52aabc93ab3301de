"""The examination of a classifier of images on its test rows: figures with intervals, and what a page tells of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.vision import metrics
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.robustness import spoilers

Entry = dict[str, Any]


class Settings(Frozen):
    """How much is looked at: rows that are spoilt to see how robust the model is, pairs of classes that are mixed up
    the most, pictures of each pair, pictures of the errors the model was surest of. `confidence` is that of intervals."""

    robustness_rows: int = Field(default=1000, ge=0)
    pairs: int = Field(default=6, ge=0)
    pictures_per_pair: int = Field(default=8, ge=1)
    errors: int = Field(default=24, ge=0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


@dataclass(frozen=True)
class Answers:
    """What a model said of labelled rows: probabilities `(rows, classes)`, places of the classes `(rows,)`."""

    probabilities: np.ndarray
    labels: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The likeliest class of each row."""
        return self.probabilities.argmax(axis=1)

    @property
    def right(self) -> np.ndarray:
        """Whether it is the true one."""
        return self.predicted == self.labels


def examine(
    answers: Answers, names: tuple[str, ...], settings: Settings, *, champion: np.ndarray | None, seed: int
) -> tuple[dict[str, float], Entry]:
    """Flat metrics for gates, and the details for the page; `champion` are its probabilities of the same rows."""
    found = metrics.figures(answers.probabilities, answers.labels)
    confusion = metrics.confusion_matrix(answers.predicted, answers.labels, len(names))
    per_class = metrics.per_class(confusion, names)
    recalls = [row["recall"] for row in per_class if row["recall"] is not None]
    found |= {"least_recall": min(recalls, default=0.0), **_gains(answers, champion, settings, seed)}
    low, high = metrics.interval(answers.right, seed=seed, confidence=settings.confidence)
    details: Entry = {
        "figures": dict(found),
        "accuracy": {"value": found["accuracy"], "low": low, "high": high},
        "rows": len(answers.labels),
        "classes": list(names),
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "reliability": metrics.reliability(answers.probabilities, answers.labels),
        "champion": champion is not None,
        "settings": settings.model_dump(mode="json"),
    }
    return found, details


def _gains(answers: Answers, champion: np.ndarray | None, settings: Settings, seed: int) -> Mapping[str, float]:
    """The gain in accuracy over the champion, paired by row; 0 without one."""
    if champion is None:
        return {"gain_over_champion": 0.0, "gain_over_champion_low": 0.0}
    gain = answers.right.astype(np.float64) - (champion.argmax(axis=1) == answers.labels)
    low, _ = metrics.interval(gain, seed=seed, confidence=settings.confidence)
    return {"gain_over_champion": float(gain.mean()), "gain_over_champion_low": low}


def robustness(predictor: ImagePredictor, pixels: np.ndarray, labels: np.ndarray) -> list[Entry]:
    """The accuracy on pictures as they are and spoilt in several ways and strengths."""
    if not len(labels):
        return []

    def accuracy(pictures: np.ndarray) -> float:
        return Answers(predictor.probabilities(pictures), labels).right.mean().item()

    told = [{"kind": "as it is", "strength": "", "accuracy": accuracy(pixels), "rows": len(labels)}]
    for kind, strength, spoil in spoilers():
        told.append({"kind": kind, "strength": strength, "accuracy": accuracy(spoil(pixels)), "rows": len(labels)})
    return told


def mistaken(answers: Answers, most: int) -> np.ndarray:
    """The rows of the errors, those first of which the model was surest."""
    wrong = np.flatnonzero(~answers.right)
    sure = answers.probabilities.max(axis=1)[wrong]
    return wrong[np.argsort(-sure, kind="stable")][:most]


def pair_rows(answers: Answers, names: tuple[str, ...], settings: Settings) -> list[tuple[int, int, int, np.ndarray]]:
    """The worst pairs: true class, told class, how often, and some rows, those first of which the model was surest."""
    confusion = metrics.confusion_matrix(answers.predicted, answers.labels, len(names))
    surest = mistaken(answers, len(answers.labels))
    found = []
    for true, told, count in metrics.worst_pairs(confusion, settings.pairs):
        rows = surest[(answers.labels[surest] == true) & (answers.predicted[surest] == told)]
        found.append((true, told, count, rows[: settings.pictures_per_pair]))
    return found
