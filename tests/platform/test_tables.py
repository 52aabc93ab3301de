"""Versioned tables: identity by content, immutable snapshots, the same from one process and from Ray."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_mlops.contract import Column, Run, Schema
from ray_mlops.errors import DataError, StorageError
from ray_mlops.platform import content, files, tables

SCHEMA = Schema(
    columns=(
        Column(name="id", type="int64"),
        Column(name="time", type="timestamp"),
        Column(name="label", type="int64"),
    ),
    key="id",
    time="time",
    label="label",
)


def make(rows: int, first: int = 0) -> pa.Table:
    ids = np.arange(first, first + rows)
    times = pa.array(ids * 1000, pa.timestamp("us", tz="UTC"))
    return pa.table({"id": ids, "time": times, "label": ids % 2, "name": [f"n{i % 7}" for i in ids]})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(root=str(tmp_path), id="r", recipe="test", uri=str(tmp_path / "artifact"), fingerprint="f")


def test_the_same_rows_in_another_order_are_the_same_snapshot(run: Run) -> None:
    table = make(500)
    first = tables.write_arrow(table, "test.events", run, data=SCHEMA)
    shuffled = table.take(np.random.default_rng(0).permutation(500))
    again = tables.write_arrow(shuffled, "test.events", run, data=SCHEMA)
    assert (again.snapshot, again.iceberg_snapshot) == (first.snapshot, first.iceberg_snapshot)


def test_an_old_snapshot_stays_readable_after_a_replacement(run: Run) -> None:
    old = tables.write_arrow(make(100), "test.events", run, data=SCHEMA)
    new = tables.write_arrow(make(50, first=1000), "test.events", run, data=SCHEMA)
    assert old.snapshot != new.snapshot
    assert sorted(tables.load(old)["id"].to_pylist()) == list(range(100))
    assert sorted(tables.load(new)["id"].to_pylist()) == list(range(1000, 1050))


def test_columns_may_come_and_change_their_type_between_snapshots(run: Run) -> None:
    old = tables.write_arrow(make(10), "test.events", run, data=SCHEMA)
    wider = make(10).append_column("extra", pa.array(np.arange(10.0)))
    retyped = wider.set_column(0, "id", wider["id"].cast(pa.string()))
    assert tables.load(tables.write_arrow(wider, "test.events", run, data=SCHEMA))["extra"].to_pylist()[9] == 9.0
    assert (
        tables.load(tables.write_arrow(retyped, "test.events", run, data=SCHEMA)).schema.field("id").type == pa.string()
    )
    assert tables.load(old).schema.field("id").type == pa.int64()


def test_loading_takes_columns_and_a_filter(run: Run) -> None:
    table = tables.write_arrow(make(100), "test.events", run, data=SCHEMA)
    loaded = tables.load(table, columns=["id"], filter=pc.field("label") == 1)
    assert loaded.column_names == ["id"] and loaded.num_rows == 50


def test_a_table_without_rows_is_refused_and_nothing_is_committed(run: Run) -> None:
    with pytest.raises(DataError, match="no rows"):
        tables.write_arrow(make(0), "test.events", run, data=SCHEMA)
    assert not files.exists(files.join(run.root, "tables", "test", "events", "metadata"))


def test_a_snapshot_whose_metadata_is_gone_is_a_storage_error(run: Run) -> None:
    table = tables.write_arrow(make(10), "test.events", run, data=SCHEMA)
    files.remove(table.metadata)
    with pytest.raises(StorageError, match="cannot read snapshot"):
        tables.load(table)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", None]), st.floats(allow_nan=False)), min_size=1)
)
def test_the_content_hash_ignores_order_and_partition_but_no_value(rows: list) -> None:
    table = pa.table(
        {"x": [r[0] for r in rows], "y": pa.array([r[1] for r in rows], pa.string()), "z": [r[2] for r in rows]}
    )
    half = len(rows) // 2
    parts = content.content_hash(table.slice(half)) + content.content_hash(table.slice(0, half))
    assert content.content_hash(table) == parts % (1 << 64)
    changed = table.set_column(0, "x", pc.add(table["x"], pa.array([1] + [0] * (len(rows) - 1))))
    assert content.content_hash(changed) != content.content_hash(table)


def test_a_null_is_not_a_zero_and_columns_do_not_swap() -> None:
    null, zero = pa.table({"x": pa.array([None], pa.int64())}), pa.table({"x": [0]})
    assert content.content_hash(null) != content.content_hash(zero)
    assert content.content_hash(pa.table({"a": [1], "b": [2]})) != content.content_hash(pa.table({"a": [2], "b": [1]}))


@pytest.mark.usefixtures("ray_session")
def test_ray_and_one_process_make_the_same_snapshot_whatever_the_blocks(run: Run) -> None:
    import ray.data

    alone = tables.write_arrow(make(1000), "test.events", run, data=SCHEMA)
    for blocks in (1, 7):
        dataset = ray.data.from_arrow(make(1000)).repartition(blocks)
        assert tables.write(dataset, "test.events", run, data=SCHEMA).snapshot == alone.snapshot
    assert tables.read(alone, columns=["id"]).sum("id") == 499_500


@pytest.mark.usefixtures("ray_session")
def test_appending_makes_a_snapshot_of_old_and_new_rows(run: Run) -> None:
    import ray.data

    old = tables.write_arrow(make(100), "test.events", run, data=SCHEMA)
    later = replace(run, fingerprint="later")
    new = tables.write(ray.data.from_arrow(make(20, first=100)), "test.events", later, data=SCHEMA, append=True)
    again = tables.write(ray.data.from_arrow(make(20, first=100)), "test.events", later, data=SCHEMA, append=True)
    assert again.snapshot == new.snapshot, "a run that is repeated after its commit appends nothing"
    whole = tables.write_arrow(make(120), "test.whole", run, data=SCHEMA)
    assert (old.rows, new.rows) == (100, 120)
    assert new.snapshot == whole.snapshot
    assert tables.load(new).num_rows == 120 and tables.load(old).num_rows == 100
