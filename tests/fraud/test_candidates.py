"""The candidates of decide: what they see in planted rows, and rows left out with weights."""

import numpy as np
import pytest

from ray_mlops.algorithms.ranking import average_precision
from ray_mlops.fraud import candidates
from ray_mlops.fraud.candidates import Lesson, thinned

NAMES = ("far", "near", "noise", "empty")


def lesson(rows: int = 6_000, seed: int = 0) -> Lesson:
    """Low values of `near` are risky; `far` matters only together with it; `empty` is all missing."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, 4)).astype(np.float32)
    matrix[:, 3] = np.nan
    matrix[random.random(rows) < 0.1, 2] = np.nan
    labels = (random.random(rows) < 1 / (1 + np.exp(4.5 + 1.5 * matrix[:, 1] - matrix[:, 0]))).astype(np.int8)
    return Lesson(NAMES, matrix, labels, labels * 80.0, 5.0)


def test_the_best_single_feature_is_found_in_its_direction() -> None:
    given = lesson()
    found = candidates.single_feature(given)
    assert found.about == "low near"
    assert average_precision(given.labels, found.score(given.matrix)) == pytest.approx(
        average_precision(given.labels, -given.matrix[:, 1])
    )


@pytest.mark.parametrize("fit", [candidates.linear, candidates.boosting])
def test_models_rank_fresh_rows_better_than_one_feature_and_repeat_themselves(fit) -> None:
    given, fresh = lesson(), lesson(seed=1)
    scores = fit(given, seed=3).score(fresh.matrix)
    single = candidates.single_feature(given).score(fresh.matrix)
    assert average_precision(fresh.labels, scores) > average_precision(fresh.labels, single)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (scores == fit(given, seed=3).score(fresh.matrix)).all()


def test_a_far_outlier_does_not_break_the_linear_model() -> None:
    given = lesson()
    given.matrix[0, 2] = 1e30
    scores = candidates.linear(given).score(given.matrix)
    assert np.isfinite(scores).all()


def test_a_hand_rule_knows_its_words() -> None:
    found = candidates.hand_rule(lesson())
    assert found is not None and found.rule is not None
    assert found.about == str(found.rule)
    assert set(np.unique(found.score(lesson().matrix))) == {0.0, 1.0}


def test_thinning_keeps_positives_and_the_weight_of_all() -> None:
    labels = (np.arange(100_000) % 100 == 0).astype(np.int8)
    rows, weights = thinned(labels, 10_000, seed=0)
    assert 9_000 < len(rows) < 11_000
    assert labels[rows].sum() == 1_000
    assert weights.sum() == pytest.approx(100_000, rel=0.05)
    assert (np.diff(rows) > 0).all()


def test_few_rows_are_all_kept_and_too_many_positives_are_thinned_too() -> None:
    rows, weights = thinned(np.ones(50), 100, seed=0)
    assert len(rows) == 50 and (weights == 1).all()
    rows, weights = thinned(np.ones(10_000), 100, seed=0)
    assert len(rows) < 100
    assert weights.sum() == pytest.approx(10_000, rel=0.5)
