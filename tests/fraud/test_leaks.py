"""Leak checks: each finds the leak that was planted for it, and clean tables raise no warning."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ray_mlops.fraud import leak_sample
from ray_mlops.fraud.encoding import integer_times
from ray_mlops.fraud.leak_sample import Draw, Sample
from ray_mlops.fraud.leaks import Limits, leak_checks
from tests.planted import EVENTS, by_chance, by_many_causes, by_one_rule, events


def days_of(table: pa.Table) -> list[dict[str, Any]]:
    """Rows and positives by day, as the profile has them."""
    days = pc.cast(table["time"], pa.date32())
    counted = (
        pa.table({"day": days, "fraud": table["fraud"]})
        .group_by("day")
        .aggregate([("fraud", "sum"), ("fraud", "count")])
    )
    rows = sorted(counted.to_pylist(), key=lambda row: row["day"])
    return [{"day": row["day"].isoformat(), "rows": row["fraud_count"], "positives": row["fraud_sum"]} for row in rows]


def checked(table: pa.Table, blocks: int = 3) -> dict[str, Any]:
    draw = Draw(EVENTS, table.num_rows)
    size = -(-table.num_rows // blocks)
    drawn = [draw(table.slice(start, size)).to_ipc() for start in range(0, table.num_rows, size)]
    sample = Sample.merged([Sample.from_ipc(streams) for streams in drawn])  # as they come back from workers
    rows = Sample(sample.rows.sort_by([("time", "ascending"), ("id", "ascending")]), sample.entities)
    return leak_checks(rows, days_of(table), EVENTS, Limits(), seed=0)


def position(table: pa.Table) -> np.ndarray:
    """Where each row stands in time, 0 to 1."""
    times = integer_times(table["time"])
    return (times - times.min()) / np.ptp(times)


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    column = pa.array(values, table.schema.field(name).type)
    return table.set_column(table.schema.get_field_index(name), name, column)


@pytest.mark.parametrize("chance", [by_many_causes, by_one_rule, by_chance])
@pytest.mark.parametrize("rows", [20_000, 60_000])
def test_clean_tables_raise_no_warning(chance: Callable[[Any], Any], rows: int) -> None:
    found = checked(events(chance, rows=rows))
    assert found["warnings"] == []
    assert found["time"]["auc"] == pytest.approx(0.5, abs=0.04)
    assert found["entities"]["shop"]["overlap"] == 1.0


def test_a_column_that_grows_with_time_is_found_and_named() -> None:
    table = events(by_many_causes)
    batch = replaced(table, "distance", np.floor(50 * position(table)) + np.random.default_rng(1).normal(0, 2, 20_000))
    found = checked(batch)
    assert found["time"]["auc"] > 0.95 and found["time"]["columns"] == ["distance"]
    (warning,) = found["warnings"]
    assert "told apart" in warning and "distance" in warning


def test_a_new_category_is_found_by_its_name() -> None:
    table = events(by_many_causes)
    late = (position(table) > 0.8) & (np.random.default_rng(1).random(20_000) < 0.9)
    found = checked(replaced(table, "channel", np.where(late, "app", np.array(table["channel"].to_pylist()))))
    assert found["time"]["columns"] == ["channel"] and len(found["warnings"]) == 1


def test_entities_whose_label_never_changes_are_found() -> None:
    table = events(by_chance)
    fraud = (table["card"].to_numpy() % 20 == 0).astype(np.int64)
    found = checked(replaced(table, "fraud", fraud))
    assert found["entities"]["card"]["auc"] == 1.0 and found["entities"]["card"]["overlap"] > 0.99
    (warning,) = found["warnings"]
    assert "card" in warning and "one side of the split" in warning


def test_labels_of_a_late_part_only_are_found_with_their_dates() -> None:
    table = events(by_many_causes)
    fraud = np.where(position(table) < 0.6, 0, table["fraud"].to_numpy())
    found = checked(replaced(table, "fraud", fraud))
    (stretch,) = found["stretches"]
    assert stretch["from"] == "2024-01-01" and stretch["until"] == "2024-01-30" and stretch["expected"] > 100
    assert any("Labels are missing from 2024-01-01" in warning for warning in found["warnings"])


def test_labels_that_are_not_out_yet_at_the_end_are_found_too() -> None:
    table = events(by_many_causes)
    fraud = np.where(position(table) > 0.8, 0, table["fraud"].to_numpy())
    (stretch,) = checked(replaced(table, "fraud", fraud))["stretches"]
    assert stretch["until"] == "2024-02-19" and stretch["positives"] < 0.1 * stretch["expected"]


def test_a_file_sorted_by_label_is_found_by_its_keys() -> None:
    table = events(by_many_causes).sort_by("fraud")
    found = checked(replaced(table, "id", np.arange(table.num_rows)))
    assert found["key"]["auc"] > 0.99
    assert ["id tells the label" in warning for warning in found["warnings"]] == [True]


def test_too_little_data_says_nothing() -> None:
    found = checked(events(by_chance, rows=100))
    assert (found["time"]["auc"], found["key"]["auc"], found["warnings"]) == (None, None, [])


def test_the_sample_is_the_same_however_the_table_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leak_sample, "ROWS", 3_000)
    monkeypatch.setattr(leak_sample, "ENTITY_ROWS", 5_000)
    table = events(by_many_causes)
    shuffled = table.take(pa.array(np.random.default_rng(3).permutation(table.num_rows)))
    one, other = checked(table, blocks=1), checked(shuffled, blocks=7)
    assert one == other and 2_700 < one["time"]["rows"] < 3_300
    assert 0.15 < one["entities"]["card"]["entities"] / 400 < 0.35


def test_missing_entities_and_text_keys_are_no_trouble() -> None:
    table = events(by_many_causes, rows=5_000)
    shops = pa.array([None if place % 3 else place % 50 for place in range(5_000)], pa.int64())
    table = replaced(table, "shop", shops)
    table = table.set_column(0, "id", pc.cast(table["id"], pa.string()))
    found = checked(table)
    assert found["key"]["auc"] is None and found["entities"]["shop"]["entities"] <= 50
