import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.errors import DataError
from ray_mlops.monitoring.sketches import Baseline, Distribution, Histogram, Sketch

value = st.one_of(st.none(), st.floats(width=32))


def baseline(rows: int = 2_000, seed: int = 0) -> Baseline:
    random = np.random.default_rng(seed)
    features = np.column_stack([random.lognormal(3, 1, rows), random.integers(0, 3, rows)]).astype(np.float32)
    scores = random.beta(0.5, 5, rows)
    return Baseline.of(["amount", "kind"], features, scores, decisions=np.where(scores > 0.3, "review", "approve"))


def test_a_baseline_survives_json():
    made = baseline()
    assert Baseline.model_validate(json.loads(made.model_dump_json())) == made


def test_each_of_a_few_values_has_a_bin():
    kinds = baseline().features["kind"]
    assert kinds.edges[:3] == (0.0, 1.0, 2.0)
    assert (kinds.counts[0], kinds.counts[-1]) == (0, 0) and min(kinds.counts[1:-1]) > 500


def test_many_values_are_cut_at_quantiles_with_a_finer_tail():
    amounts = baseline().features["amount"]
    shares = np.array(amounts.counts) / amounts.rows
    assert shares[1:10] == pytest.approx(0.1, abs=0.01)
    assert shares[-3:-1] == pytest.approx([0.04, 0.01], abs=0.005)


def test_what_was_never_seen_is_outside():
    known = baseline().features["amount"]
    histogram = Histogram(known.edges)
    for amount in (-5.0, 1e9, known.edges[0]):
        histogram.update(amount)
    histogram.update(None)
    assert histogram.distribution().outside_share == 0.5
    assert histogram.distribution().missing_share == 0.25


def test_a_column_without_values_has_a_baseline():
    empty = Distribution.of(np.array([np.nan, np.nan]))
    assert (empty.missing, sum(empty.counts)) == (2, 0)


@settings(deadline=None)
@given(st.lists(value, max_size=60))
def test_counting_one_by_one_and_at_once_is_the_same(values):
    one, all_at_once = Histogram((0.0, 1.5, 10.0)), Histogram((0.0, 1.5, 10.0))
    for each in values:
        one.update(each)
    all_at_once.add(np.array(values, dtype=float))
    assert one.distribution() == all_at_once.distribution()
    assert one.distribution().rows == len(values)


@settings(deadline=None)
@given(
    st.lists(st.tuples(value, st.floats(0, 1, width=32), st.sampled_from(["approve", "block"])), max_size=40), st.data()
)
def test_sketches_merge_without_loss(requests, data):
    known = baseline(rows=100)
    cut = data.draw(st.integers(0, len(requests)))
    whole, left, right = Sketch(known), Sketch(known), Sketch(known)
    for place, (amount, score, decision) in enumerate(requests):
        for sketch in (whole, left if place < cut else right):
            sketch.update({"amount": amount}, score, decision)
    right.merge(left)
    assert right.requests == whole.requests == len(requests)
    assert right.to_baseline() == whole.to_baseline()
    assert right.features["kind"].missing == len(requests)


def test_a_double_falls_where_its_float32_fell_at_training():
    shares = np.repeat(np.array([0.1, 0.2, 0.3], np.float32), 10)
    live = Histogram(Distribution.of(shares).edges)
    live.add(np.repeat([0.1, 0.2, 0.3], 10))
    assert live.distribution() == Distribution.of(shares)


def test_histograms_of_different_versions_do_not_merge():
    with pytest.raises(DataError, match="same edges"):
        Histogram((0.0,)).merge(Histogram((1.0,)))


def test_a_matrix_that_does_not_fit_its_names_is_refused():
    with pytest.raises(DataError, match="2 features"):
        Baseline.of(["a", "b"], np.zeros((4, 3), np.float32), np.zeros(4))
