import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ray_mlops.algorithms.ranking import average_precision, roc_auc
from ray_mlops.monitoring.power import Distribution, ordered_power, ranking_power, shaped_power

labelled = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=4, max_size=80)


def distribution(values: np.ndarray, labels: np.ndarray, **missing: int) -> Distribution:
    distinct, places = np.unique(values, return_inverse=True)
    counts = np.bincount(places)
    return Distribution(distinct, counts, np.bincount(places, weights=labels).astype(int), **missing)


@settings(deadline=None)
@given(labelled)
def test_power_is_that_of_the_metrics_in_the_better_direction(rows):
    values, labels = np.array([value for value, _ in rows]), np.array([label for _, label in rows])
    assume(0 < labels.sum() < len(labels))
    direction, auc, ap = ordered_power(distribution(values, labels))
    scores = values if direction == "higher" else -values
    assert auc == pytest.approx(roc_auc(labels, scores)) and auc >= 0.5
    assert ap == pytest.approx(average_precision(labels, scores))


def test_one_class_has_no_power():
    assert np.isnan(ranking_power(np.array([3, 4]), np.array([0, 0]))).all()


def test_a_shape_is_seen_that_no_direction_shows():
    values = np.repeat(np.arange(20), 50)
    found = distribution(values, np.isin(values, (9, 10)))
    assert ordered_power(found)[1] < 0.6
    assert shaped_power(found.grouped())[0] == 1.0


def test_missing_values_are_a_group_of_their_own():
    values = np.repeat(np.arange(5), 100)
    found = distribution(values, np.zeros(500), missing=40, missing_positives=40)
    assert shaped_power(found.grouped())[0] == 1.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=500))
def test_groups_keep_every_row_and_are_wide_enough(values):
    found = distribution(np.array(values), np.zeros(len(values)))
    groups = found.grouped()
    assert groups.counts.sum() == len(values)
    assert len(groups.counts) == 1 or groups.counts.min() >= 30
    assert groups.values[0] == min(values)


def test_noise_with_few_positives_is_no_leak():
    random = np.random.default_rng(3)
    labels = np.zeros(1_000)
    labels[:10] = 1
    found = distribution(random.random(1_000), labels)
    assert shaped_power(found.grouped())[0] < 0.99


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=100), st.floats(0.001, 1))
def test_a_quantile_is_the_least_value_that_reaches_the_share(values, share):
    found = distribution(np.array(values), np.zeros(len(values))).quantile(share)
    array = np.array(values)
    assert (array <= found).mean() >= share - 1e-9
    assert (array < found).mean() < share


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=100))
def test_a_histogram_over_the_range_holds_all(values):
    found = distribution(np.array(values, float), np.zeros(len(values)))
    edges = np.linspace(min(values), max(values) + 1, 8)
    assert found.histogram(edges).tolist() == np.histogram(values, edges)[0].tolist()
