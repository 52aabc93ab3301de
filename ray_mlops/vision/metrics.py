"""How good a classifier of images is: figures over all classes, per class, and where it is mistaken.

`probabilities` are `(rows, classes)`, `labels` places of classes `(rows,)`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

_BINS = 15
_MANY = 1000  # draws of the bootstrap


def figures(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, top-5 accuracy, macro F1, log loss, expected calibration error."""
    confusion = confusion_matrix(probabilities.argmax(axis=1), labels, probabilities.shape[1])
    given = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1.0)
    return {
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "top5_accuracy": float(_among_first(probabilities, labels, 5).mean()),
        "macro_f1": float(np.mean(_f1(confusion))),
        "log_loss": float(-np.log(given).mean()),
        "ece": calibration_error(probabilities, labels),
    }


def interval(correct: np.ndarray, *, seed: int, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of a mean over rows by resampling them; of `correct` 0/1, that of the accuracy."""
    random = np.random.default_rng(seed)
    values, counts = np.unique(np.asarray(correct, np.float64), return_counts=True)
    drawn = random.multinomial(len(correct), counts / counts.sum(), size=_MANY) @ values / max(len(correct), 1)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Counts `(classes, classes)`: rows are the true class, columns the predicted one."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def per_class(confusion: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and rows of each class; None where there is nothing to divide by."""
    hits, rows, calls = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        {
            "class": name,
            "rows": int(rows[place]),
            "precision": _share(hits[place], calls[place]),
            "recall": _share(hits[place], rows[place]),
            "f1": float(_f1(confusion)[place]),
        }
        for place, name in enumerate(names)
    ]


def worst_pairs(confusion: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """The most frequent mistakes: true class, predicted class, rows; most frequent first."""
    mistakes = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    places = [divmod(int(place), len(confusion)) for place in order]
    return [(true, told, int(mistakes[true, told])) for true, told in places if mistakes[true, told]]


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """Per bin of equal width of the highest probability: its mean, the accuracy, and the rows."""
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    return [
        {"confidence": float(sure[bins == place].mean()), "accuracy": float(right[bins == place].mean()), "rows": rows}
        for place in range(_BINS)
        if (rows := int((bins == place).sum()))
    ]


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The expected calibration error: the mean distance of confidence and accuracy over bins, weighted by rows."""
    bins = reliability(probabilities, labels)
    return float(sum(part["rows"] * abs(part["confidence"] - part["accuracy"]) for part in bins) / max(len(labels), 1))


def _among_first(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    first = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return (first == labels[:, None]).any(axis=1)


def _f1(confusion: np.ndarray) -> np.ndarray:
    hits = np.diag(confusion)
    return 2 * hits / np.maximum(confusion.sum(axis=0) + confusion.sum(axis=1), 1)


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
