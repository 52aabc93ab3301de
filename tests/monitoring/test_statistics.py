from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.monitoring.statistics import Bins, ExactSum, Moments, Tally, mixed

finite = st.floats(allow_nan=False, allow_infinity=False)
moderate = st.floats(-1e9, 1e9)


def tally(values: np.ndarray, limit: int) -> Tally:
    whole = values.astype(np.int64)
    return Tally.of(mixed(whole), np.ones(len(whole), np.int64), positives=whole % 2, limit=limit, values=whole)


def same(one: Tally, other: Tally) -> bool:
    names = ("hashes", "counts", "positives", "values")
    return one.shift == other.shift and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@settings(deadline=None)
@given(st.lists(finite, max_size=40))
def test_a_sum_has_no_rounding(values):
    assert ExactSum.of(np.array(values, float)).fraction() == sum(map(Fraction, values))


@settings(deadline=None)
@given(st.lists(finite, max_size=30), st.lists(finite, max_size=30))
def test_sums_of_parts_add_up_exactly(left, right):
    whole = ExactSum.of(np.array(left + right, float))
    assert ExactSum.of(np.array(right, float)) + ExactSum.of(np.array(left, float)) == whole


@settings(deadline=None)
@given(st.lists(moderate, min_size=2, max_size=50), st.integers(0, 50))
def test_moments_agree_with_numpy_and_merge(values, cut):
    array = np.array(values)
    found = Moments.merged([Moments.of(array[cut:]), Moments.of(array[:cut])])
    assert found == Moments.of(array)
    assert (found.minimum, found.maximum, found.count) == (array.min(), array.max(), len(array))
    assert found.mean == pytest.approx(array.mean(), rel=1e-9, abs=1e-9)
    assert found.std == pytest.approx(array.std(ddof=1), rel=1e-6, abs=1e-3)


def test_a_large_offset_does_not_drown_the_spread():
    assert Moments.of(np.array([1e8 + 1, 1e8 + 2, 1e8 + 3])).std == pytest.approx(1.0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), max_size=200), st.lists(st.integers(0, 200), max_size=3), st.integers(4, 64))
def test_a_tally_does_not_depend_on_how_rows_were_cut(values, cuts, limit):
    array = np.array(values, np.int64)
    parts = [tally(part, limit) for part in np.split(array, sorted(cuts))]
    whole = tally(array, limit)
    assert same(Tally.merged(parts[::-1]), whole)
    assert same(Tally.merged([Tally.merged(parts[:1]), Tally.merged(parts)]), Tally.merged([parts[0], *parts]))
    assert len(whole.hashes) <= limit


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=200))
def test_a_complete_tally_counts_exactly(values):
    found = tally(np.array(values), limit=31)
    counts = {value: values.count(value) for value in values}
    assert found.values is not None and found.complete
    assert dict(zip(found.values.tolist(), found.counts.tolist(), strict=True)) == counts
    assert found.distinct == len(counts)
    assert found.repeats == len(values) - len(counts)
    assert found.counts[found.top(1)[0]] == max(counts.values())


def test_a_sampled_tally_estimates_and_keeps_whole_counts():
    values = np.repeat(np.arange(50_000), 3)
    found = tally(values, limit=2_000)
    assert not found.complete
    assert (found.counts == 3).all()
    assert found.distinct == pytest.approx(50_000, rel=0.1)
    assert found.repeats == pytest.approx(100_000, rel=0.1)


@settings(deadline=None)
@given(st.lists(moderate, min_size=1, max_size=100), st.integers(0, 100), st.floats(-100, 100))
def test_bins_merge_and_stay_near_their_values(values, cut, offset):
    array = np.array(values)
    labels = array > 0
    whole = Bins.of(array, labels, offset)
    merged = Bins.merged([Bins.of(array[cut:], labels[cut:], offset), Bins.of(array[:cut], labels[:cut], offset)])
    assert all(np.array_equal(getattr(whole, name), getattr(merged, name)) for name in ("keys", "counts", "positives"))
    assert whole.counts.sum() == len(array) and whole.positives.sum() == labels.sum()
    near = np.repeat(whole.centres(), whole.counts)
    assert np.all(np.abs(near - np.sort(array)) <= 0.002 * np.abs(np.sort(array) - offset) + 1e-12)
    assert np.all(np.diff(whole.centres()) >= 0)
