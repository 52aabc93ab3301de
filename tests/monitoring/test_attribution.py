import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from ray_mlops.monitoring import attribution
from ray_mlops.monitoring.alarms import Rule, judge

NAMES = ("a", "b", "c", "d")
SIZES = np.array([4.0, 2.0, 0.5, 0.1])


def contributions(sizes: np.ndarray, rows: int = 300) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, len(sizes))) * sizes


@pytest.mark.parametrize("now", [[4, 3, 2, 1], [1, 2, 3, 4], [3, 4, 2, 1]])
def test_ndcg_is_that_of_scikit_learn(now):
    expected = ndcg_score(SIZES[None], np.array(now, float)[None])
    assert attribution.ndcg(SIZES, np.array(now, float)) == pytest.approx(expected)


@pytest.mark.parametrize(("sizes", "alarming"), [(SIZES, False), (SIZES * 3, False), (SIZES[::-1], True)])
def test_only_another_order_of_importance_is_drift(sizes, alarming):
    before = attribution.importance(NAMES, contributions(SIZES, 2_000))
    readings = list(attribution.compare(before, NAMES, contributions(sizes)))
    assert bool(judge([readings], Rule())) is alarming


def test_a_bundle_without_importances_says_nothing():
    assert not list(attribution.compare({}, NAMES, contributions(SIZES)))
