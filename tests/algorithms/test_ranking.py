"""Ranking metrics against scikit-learn and plain definitions, also under day weights."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from ray_mlops.algorithms import ranking
from ray_mlops.errors import DataError
from ray_mlops.fraud.intervals import day_draws

DAYS = 4


class Case(NamedTuple):
    labels: np.ndarray
    scores: np.ndarray
    days: np.ndarray


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Rows with many equal scores, some days without rows, classes of any size."""
    rows = st.tuples(st.booleans(), st.integers(0, 8), st.integers(0, DAYS - 1))
    labels, levels, days = zip(*draw(st.lists(rows, min_size=1, max_size=60)), strict=True)
    return Case(np.array(labels), np.array(levels) / 8, np.array(days))


def repeated(case: Case, draw: np.ndarray) -> Case:
    """The rows with those of each day repeated as often as the day was drawn."""
    rows = np.repeat(np.arange(len(case.labels)), draw[case.days].astype(int))
    return Case(*(column[rows] for column in case))


def recall_at(labels: np.ndarray, scores: np.ndarray, limit: float) -> float:
    """By definition: the best recall over all thresholds that alert few enough honest rows."""
    best = 0.0
    for threshold in scores:
        alerts = scores >= threshold
        if (alerts & ~labels).sum() <= limit * (~labels).sum():
            best = max(best, (alerts & labels).sum() / labels.sum())
    return best


@settings(max_examples=80, deadline=None)
@given(cases(), st.integers(0, 1000))
def test_weighted_days_mean_repeated_rows(case: Case, seed: int) -> None:
    (draw,) = draws = day_draws(DAYS, 1, seed)
    labels, scores, _ = repeated(case, draw)
    assume(0 < labels.sum() < len(labels))
    found = ranking.ranking(case.labels, case.scores, case.days, DAYS)
    assert found.average_precision(draws)[0] == pytest.approx(average_precision_score(labels, scores))
    assert found.roc_auc(draws)[0] == pytest.approx(roc_auc_score(labels, scores))
    for limit in (0.01, 0.2):
        assert found.recall_at_fpr(draws, limit)[0] == pytest.approx(recall_at(labels, scores, limit))


@settings(max_examples=80, deadline=None)
@given(cases())
def test_plain_functions_are_scikit_learn(case: Case) -> None:
    assume(0 < case.labels.sum() < len(case.labels))
    assert ranking.average_precision(case.labels, case.scores) == pytest.approx(
        average_precision_score(case.labels, case.scores)
    )
    assert ranking.roc_auc(case.labels, case.scores) == pytest.approx(roc_auc_score(case.labels, case.scores))
    assert ranking.recall_at_fpr(case.labels, case.scores, 0.1) == pytest.approx(
        recall_at(case.labels, case.scores, 0.1)
    )


@settings(max_examples=50, deadline=None)
@given(cases())
def test_the_curve_holds_the_points_of_scikit_learn_at_scores_of_positives(case: Case) -> None:
    assume(case.labels.any())
    found = ranking.precision_recall(case.labels, case.scores)
    precision, recall, thresholds = precision_recall_curve(case.labels, case.scores)
    expected = {float(t): (p, r) for t, p, r in zip(thresholds, precision, recall, strict=False)}
    for threshold, p, r in zip(found.thresholds, found.precision, found.recall, strict=True):
        assert expected[float(threshold)] == pytest.approx((p, r))


def test_the_order_of_rows_does_not_matter() -> None:
    generator = np.random.default_rng(0)
    labels, scores = generator.random(500) < 0.1, generator.integers(0, 50, 500) / 50
    order = generator.permutation(500)
    assert ranking.average_precision(labels, scores) == ranking.average_precision(labels[order], scores[order])
    assert ranking.roc_auc(labels, scores) == ranking.roc_auc(labels[order], scores[order])


def test_a_constant_score_has_the_prevalence_and_one_half() -> None:
    labels = np.arange(100) < 7
    assert ranking.average_precision(labels, np.zeros(100)) == pytest.approx(0.07)
    assert ranking.roc_auc(labels, np.zeros(100)) == pytest.approx(0.5)


def test_what_is_undefined_is_nan() -> None:
    nobody = np.zeros(5, dtype=bool)
    assert math.isnan(ranking.average_precision(nobody, np.arange(5.0)))
    assert math.isnan(ranking.roc_auc(nobody, np.arange(5.0)))
    assert math.isnan(ranking.roc_auc(~nobody, np.arange(5.0)))


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 3 scores"):
        ranking.ranking(np.array([0, 1, 0]), np.array([0.1, np.nan, 0.2]))
