"""Figures of a classifier of images, against other ways to count."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix as reference
from sklearn.metrics import f1_score, top_k_accuracy_score

from ray_mlops.vision import metrics

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 7, 400)
PROBABILITIES = RANDOM.dirichlet(np.ones(7) * 0.4, 400)
PROBABILITIES[np.arange(400), LABELS] += 0.3
PROBABILITIES /= PROBABILITIES.sum(axis=1, keepdims=True)
PREDICTED = PROBABILITIES.argmax(axis=1)


def test_figures_are_those_of_scikit_learn() -> None:
    found = metrics.figures(PROBABILITIES, LABELS)
    assert found["accuracy"] == pytest.approx((PREDICTED == LABELS).mean())
    assert found["top5_accuracy"] == pytest.approx(top_k_accuracy_score(LABELS, PROBABILITIES, k=5))
    assert found["macro_f1"] == pytest.approx(f1_score(LABELS, PREDICTED, average="macro"))
    confusion = metrics.confusion_matrix(PREDICTED, LABELS, 7)
    assert (confusion == reference(LABELS, PREDICTED)).all()


def test_per_class_says_nothing_where_there_is_nothing() -> None:
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    rows = {row["class"]: row for row in metrics.per_class(confusion, "abc")}
    assert rows["a"] == {"class": "a", "rows": 4, "precision": 1.0, "recall": 0.75, "f1": pytest.approx(6 / 7)}
    assert rows["c"]["precision"] is rows["c"]["recall"] is None


def test_worst_pairs_come_in_order_and_without_what_is_right() -> None:
    confusion = np.array([[90, 2, 0], [5, 80, 0], [0, 1, 70]])
    assert metrics.worst_pairs(confusion, 2) == [(1, 0, 5), (0, 1, 2)]
    assert metrics.worst_pairs(np.diag([3, 4]), 5) == []


def test_who_is_as_sure_as_right_has_no_calibration_error() -> None:
    labels = (np.arange(1000) < 300).astype(int)  # told class 0 with 0.7, right seven times of ten
    honest = np.tile([0.7, 0.3], (1000, 1))
    assert metrics.calibration_error(honest, labels) == pytest.approx(0, abs=1e-9)
    assert metrics.calibration_error(np.tile([0.95, 0.05], (1000, 1)), labels) == pytest.approx(0.25)
    assert sum(part["rows"] for part in metrics.reliability(honest, labels)) == 1000


def test_the_interval_of_an_accuracy_covers_it_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        right = np.random.default_rng(seed).random(300) < 0.8
        low, high = metrics.interval(right, seed=seed, confidence=0.9)
        covered += low <= 0.8 <= high
    assert 0.83 <= covered / 200 <= 0.97
    assert metrics.interval(np.ones(50), seed=0) == (1.0, 1.0)
