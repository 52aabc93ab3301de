"""What decide looks at: the rows and numbers of the feature table, from as little of the data as needed."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_mlops.fraud import material
from ray_mlops.fraud.costs import Costs
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.platform import tables
from ray_mlops.stages import features
from tests.planted import EVENTS, FEATURES, a_run, by_many_causes, clean_table, events

KNOWN_LEAVE = FEATURES.model_copy(update={"split": FEATURES.split.model_copy(update={"remove_known": True})})


def test_rows_and_numbers_are_those_of_the_feature_table(tmp_path: Path) -> None:
    raw = events(by_many_causes, rows=8_000)
    made = features.run(KNOWN_LEAVE, a_run(tmp_path, "features"), table=clean_table(raw, tmp_path))
    definition = FeatureDefinition.of(KNOWN_LEAVE, EVENTS)
    intervals = made.intervals
    start = material.since(definition, intervals)
    assert start is not None
    near = raw.filter(pc.field("time") >= start).select(material.columns(definition))
    found = material.prepare(near, definition, KNOWN_LEAVE.split, intervals=intervals, costs=Costs())
    table = tables.load(made.table).sort_by([("time", "ascending"), ("id", "ascending")])
    for lesson, parts in ((found.earlier, ["train"]), (found.later, ["validation", "test"])):
        expected = table.filter(pc.field("split").isin(parts))
        matrix = np.stack([expected[name].to_numpy().astype(np.float32) for name in made.names], axis=1)
        assert np.array_equal(lesson.matrix, matrix, equal_nan=True)
        assert (lesson.labels == expected["fraud"].to_numpy()).all()
        assert lesson.stolen.sum() == (expected["fraud"].to_numpy() * expected["amount"].to_numpy()).sum()


def test_events_before_the_longest_window_are_not_needed() -> None:
    definition = FeatureDefinition.of(FEATURES, EVENTS)
    raw = events(by_many_causes, rows=500)
    span = pc.min_max(raw["time"])
    intervals = FEATURES.split.intervals(span["min"].as_py(), span["max"].as_py())
    assert material.since(definition, intervals) == intervals["train"].start - timedelta(days=10)


def test_whole_histories_of_some_cards_are_kept() -> None:
    raw = events(by_many_causes, rows=5_000)
    found = material.one_in(raw, EVENTS, 4)
    cards = set(found["card"].to_pylist())
    assert 10 < len(cards) < 40  # of 100
    assert found.num_rows == raw.filter(pc.field("card").isin(list(cards))).num_rows
    assert material.one_in(raw, EVENTS, 1) is raw


def test_the_same_cards_are_chosen_in_any_order_and_a_missing_card_is_one_too() -> None:
    raw = events(by_many_causes, rows=2_000)
    blank = raw.set_column(raw.column_names.index("card"), "card", pa.nulls(2_000, pa.int64()))
    both = pa.concat_tables([raw, blank])
    ids = set(material.one_in(raw, EVENTS, 3)["id"].to_pylist())
    reverse = both.take(pa.array(np.arange(both.num_rows)[::-1]))
    kept = material.one_in(reverse, EVENTS, 3)
    assert set(kept.filter(kept["card"].is_valid())["id"].to_pylist()) == ids
    assert kept["card"].null_count in (0, 2_000)
