import json
import math
from bisect import bisect_right
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_mlops.errors import DataError
from ray_mlops.monitoring.baseline import MOST_VALUES, Baseline, Values, bands_of
from ray_mlops.monitoring.sketches import Sketch, baseline_of

NAMES = ["kind", "amount"]
value = st.one_of(st.none(), st.floats(width=32))
channel = st.sampled_from(["chip", "online", "never seen", None])
request = st.tuples(value, value, st.floats(0, 1, width=32), st.sampled_from(["approve", "block", "new"]), channel)


def baseline(rows: int = 2_000, seed: int = 0) -> Baseline:
    random = np.random.default_rng(seed)
    features = np.column_stack([random.integers(0, 3, rows), random.lognormal(3, 1, rows)]).astype(np.float32)
    scores = random.beta(0.5, 5, rows)
    channels = random.choice(["chip", "online"], rows).tolist()
    return baseline_of(
        NAMES,
        features,
        scores,
        decisions=np.where(scores > 0.3, "block", "approve").tolist(),
        actions=("approve", "review", "block"),
        inputs={"channel": channels},
        slices={"channel": channels},
    )


KNOWN = baseline(rows=100)


def sketch_of(requests: list[tuple]) -> Sketch:
    """All requests at once."""
    sketch = Sketch(KNOWN, NAMES)
    rows = np.array([one[:2] for one in requests], float).reshape(-1, 2)
    events = [{"channel": one[4]} for one in requests]
    sketch.add(rows, [one[2] for one in requests], [one[3] for one in requests], events)
    return sketch


def merged(*sketches: Sketch) -> Sketch:
    whole = Sketch(KNOWN, NAMES)
    for sketch in sketches:
        whole.merge(sketch)
    return whole


def test_a_baseline_survives_json():
    made = baseline()
    assert Baseline.model_validate(json.loads(json.dumps(json.loads(made.model_dump_json()), sort_keys=True))) == made


def test_a_sketch_of_the_training_rows_is_the_baseline():
    random = np.random.default_rng(0)
    rows = np.column_stack([random.integers(0, 3, 2_000), random.lognormal(3, 1, 2_000)]).astype(np.float32)
    known = baseline()
    sketch = Sketch(known, NAMES)
    sketch.add_features(rows)
    assert sketch.to_baseline().features == known.features
    assert sum(known.slices["channel"][name].rows for name in ("chip", "online")) == 2_000


def test_each_of_a_few_values_has_a_bin():
    kinds = baseline().features["kind"]
    assert kinds.edges[:3] == (0.0, 1.0, 2.0)
    assert (kinds.counts[0], kinds.counts[-1]) == (0, 0) and min(kinds.counts[1:-1]) > 500


def test_many_values_are_cut_at_quantiles_with_a_finer_tail():
    amounts = baseline().features["amount"]
    shares = np.array(amounts.counts) / amounts.rows
    assert shares[1:10] == pytest.approx(0.1, abs=0.01)
    assert shares[-3:-1] == pytest.approx([0.04, 0.01], abs=0.005)


@given(st.lists(request, max_size=40))
def test_each_value_lies_in_the_bin_that_a_search_finds(requests):
    found = sketch_of(requests).to_baseline()
    edges = KNOWN.features["amount"].edges
    amounts = [one[1] for one in requests]
    known = [bisect_right(edges, amount) for amount in amounts if amount is not None and not math.isnan(amount)]
    assert found.features["amount"].counts == tuple(known.count(place) for place in range(len(edges) + 1))
    assert found.features["amount"].missing == len(amounts) - len(known)
    assert found.decisions.get("other", 0) == sum(one[3] == "new" for one in requests)
    channels = [one[4] for one in requests]
    assert found.inputs["channel"].cells == tuple(channels.count(one) for one in ("chip", "online", "never seen", None))
    for name in ("chip", "online"):
        assert found.slices["channel"][name].rows == channels.count(name)


@given(st.lists(request, max_size=40), st.lists(st.integers(0, 2), min_size=40, max_size=40))
def test_parts_merge_to_the_whole_in_any_order(requests, dealt):
    parts = [[one for one, to in zip(requests, dealt, strict=False) if to == part] for part in range(3)]
    whole = sketch_of(requests)
    for a, b, c in permutations(map(sketch_of, parts)):
        left, right = merged(merged(a, b), c), merged(a, merged(b, c))
        assert (left.counts == whole.counts).all() and (right.counts == whole.counts).all()
    assert whole.requests == len(requests)


@given(st.lists(request, max_size=30))
def test_one_by_one_and_at_once_is_the_same(requests):
    one_by_one = merged(*(sketch_of([one]) for one in requests))
    assert (one_by_one.counts == sketch_of(requests).counts).all()


@given(st.lists(request, max_size=20))
def test_counts_are_all_that_need_be_kept(requests):
    sketch = sketch_of(requests)
    again = Sketch(KNOWN, NAMES, counts=json.loads(json.dumps(sketch.counts.tolist())))
    assert again.to_baseline() == sketch.to_baseline()


def test_what_is_no_number_makes_no_quarters():
    assert bands_of([float("nan") for _ in range(30)]) == ()
    assert bands_of([*(float("nan") for _ in range(30)), *([0, 1, 2] * 50)]) == ()
    assert bands_of([*(float("inf") for _ in range(30)), *range(101)]) == (25, 50, 75)


def test_a_column_of_many_numbers_is_sliced_into_quarters():
    ages = [18 + place % 60 for place in range(600)]
    scores = np.linspace(0, 1, 600)
    rows = np.zeros((600, 2), np.float32)
    known = baseline_of(NAMES, rows, scores, actions=("approve",), slices={"age": ages})
    assert set(known.slices["age"]) == {"up to 32.75", "32.75 to 47.5", "47.5 to 62.25", "over 62.25"}
    assert [part.rows for part in known.slices["age"].values()] == [150] * 4
    assert Baseline.model_validate(json.loads(known.model_dump_json())).bands == {"age": (32.75, 47.5, 62.25)}
    sketch = Sketch(known, NAMES)
    sketch.add(rows[:4], [0.5] * 4, ["approve"] * 4, [{"age": 20}, {"age": 99}, {"age": None}, {}])
    seen = {name: part.rows for name, part in sketch.to_baseline().slices["age"].items()}
    assert seen == {"up to 32.75": 1, "32.75 to 47.5": 0, "47.5 to 62.25": 0, "over 62.25": 1}
    assert known.slice_of("age", 20) == "up to 32.75" and KNOWN.slice_of("channel", "chip") == "chip"


def test_answers_without_the_model_and_refusals_are_only_numbered():
    sketch = Sketch(KNOWN, NAMES)
    sketch.degrade(3)
    sketch.refuse(2)
    assert (sketch.requests, sketch.degraded, sketch.refused) == (0, 3, 2)
    assert sketch.to_baseline().score.rows == 0


def test_what_was_never_seen_is_outside():
    sketch = sketch_of([(0, amount, 0.5, "approve", "chip") for amount in (-5.0, 1e9, 20.0, None)])
    amounts = sketch.to_baseline().features["amount"]
    assert (amounts.outside, amounts.missing, amounts.rows) == (2, 1, 4)


def test_a_column_without_values_has_a_baseline():
    empty = baseline_of(["none"], np.full((2, 1), np.nan), np.array([0.1, 0.2])).features["none"]
    assert (empty.missing, sum(empty.counts)) == (2, 0)


def test_a_double_falls_where_its_float32_fell_at_training():
    shares = np.repeat(np.array([0.1, 0.2, 0.3], np.float32), 10)
    known = baseline_of(["share"], shares[:, None], shares)
    sketch = Sketch(known)
    sketch.add(np.repeat([0.1, 0.2, 0.3], 10)[:, None], np.repeat([0.1, 0.2, 0.3], 10).tolist(), ["x"] * 30)
    assert sketch.to_baseline().features == known.features and sketch.to_baseline().score == known.score


def test_rare_values_of_a_text_column_are_counted_together():
    column = [f"v{number:03d}" for number in range(MOST_VALUES + 7) for _ in range(2)] + [None]
    values = Values.of(column)
    assert (len(values.counts), values.other, values.missing) == (MOST_VALUES, 14, 1)


def test_sketches_of_different_versions_do_not_merge():
    with pytest.raises(DataError, match="same edges"):
        Sketch(KNOWN).merge(Sketch(baseline(rows=90)))
    with pytest.raises(DataError, match="counts"):
        Sketch(KNOWN, counts=[0])


def test_a_matrix_that_does_not_fit_its_names_is_refused():
    with pytest.raises(DataError, match="2 features"):
        baseline_of(["a", "b"], np.zeros((4, 3), np.float32), np.zeros(4))
