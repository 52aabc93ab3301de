"""Parts of a feature table: every labelled row in exactly one share, in a known order, whatever the files."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_mlops.contract import Column, Features, Interval, Run, Schema, Table
from ray_mlops.errors import DataError
from ray_mlops.platform import tables
from ray_mlops.platform.parts import ArrayPart, Source

SCHEMA = Schema(
    columns=(
        Column(name="id", type="string"),
        Column(name="time", type="timestamp"),
        Column(name="fraud", type="int64", nullable=True),
    ),
    key="id",
    time="time",
    label="fraud",
)
ROWS = 97


def rows() -> pa.Table:
    """Rows of three splits in no order, with ties in time, gaps in a feature and one missing label."""
    random = np.random.default_rng(0)
    split = np.array(["train", "validation", "test"])[random.integers(0, 3, ROWS)]
    fraud = pa.array([None if row == 5 else int(row % 7 == 0) for row in range(ROWS)])
    time = pa.array(random.integers(0, 20, ROWS) * 1_000_000, pa.timestamp("us", "UTC"))
    number = np.arange(ROWS, dtype=np.float64)
    gaps = pa.array([None if row % 10 == 0 else float(row) for row in range(ROWS)])
    keys = [f"k{row:03d}" for row in range(ROWS)]
    return pa.table({"id": keys, "time": time, "fraud": fraud, "number": number, "gaps": gaps, "split": split})


def features(root: Path, files: int = 3) -> Features:
    """The rows as a feature table of several files."""
    run = Run(root=str(root), id="r", recipe="t", uri=str(root), fingerprint="f")
    table, step = rows(), -(-ROWS // files)
    folder = f"{root}/tables/test/features/data"
    entries = [tables.write_part(table.slice(start, step), folder).to_pylist()[0] for start in range(0, ROWS, step)]
    made = Table(**dict(tables.commit(entries, "test.features", run, sources={})), data=SCHEMA)
    year = Interval(start=datetime(1970, 1, 1, tzinfo=UTC), end=datetime(1971, 1, 1, tzinfo=UTC))
    counts = {split: sum(value == split for value in table["split"].to_pylist()) for split in ("train", "validation")}
    return Features(
        uri=str(root), fingerprint="f", table=made, names=("number", "gaps"), definition="", history=made,
        intervals={"train": year, "validation": year}, rows=counts, positives={"train": 3, "validation": 3},
    )  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return Source.of(features(tmp_path_factory.mktemp("parts")))


def test_rows_come_in_order_of_time_and_key_with_gaps_as_nan(source: Source) -> None:
    expected = [
        row for row in sorted(rows().to_pylist(), key=lambda row: (row["time"], row["id"]))
        if row["split"] == "train" and row["fraud"] is not None
    ]  # fmt: skip
    found, labels = source.read("train").arrays()
    assert found.dtype == labels.dtype == np.float32
    assert found[:, 0].tolist() == [row["number"] for row in expected]
    assert np.isnan(found[:, 1]).tolist() == [row["gaps"] is None for row in expected]
    assert labels.tolist() == [row["fraud"] for row in expected]


def test_the_number_of_files_changes_nothing(source: Source, tmp_path: Path) -> None:
    other = Source.of(features(tmp_path, files=11))
    for split in ("train", "validation", "test"):
        one, two = source.read(split).arrays(), other.read(split).arrays()
        assert np.array_equal(one[0], two[0], equal_nan=True)
        assert np.array_equal(one[1], two[1])


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 20))
def test_each_row_is_in_exactly_one_share_and_shares_are_even(source: Source, size: int) -> None:
    shares = [source.read("train", rank, size).arrays()[0][:, 0] for rank in range(size)]
    assert sorted(np.concatenate(shares)) == sorted(source.read("train").arrays()[0][:, 0])
    lengths = {len(share) for share in shares}
    assert max(lengths) - min(lengths) <= 1


def test_too_many_workers_are_refused(source: Source) -> None:
    with pytest.raises(DataError, match="too few. Use fewer workers"):
        for rank in range(200):
            source.read("train", rank, 200)


@pytest.mark.parametrize("positives", [{"train": 0, "validation": 3}, {"train": 3, "validation": 32}])
def test_a_part_of_one_class_is_refused(positives: dict[str, int], tmp_path: Path) -> None:
    given = features(tmp_path)
    counts = {**given.rows, "validation": 32}
    with pytest.raises(DataError, match="both classes are needed"):
        Source.of(given.model_copy(update={"positives": positives, "rows": counts}))


def test_batches_are_all_rows_shuffled_by_the_seed() -> None:
    part = ArrayPart(np.arange(10, dtype=np.float32)[:, None], np.arange(10, dtype=np.float32))
    assert [len(labels) for _, labels in part.batches(4)] == [4, 4, 2]
    shuffled = [np.concatenate([labels for _, labels in part.batches(4, seed=seed)]).tolist() for seed in (1, 1, 2)]
    assert shuffled[0] == shuffled[1] != shuffled[2]
    assert sorted(shuffled[0]) == list(range(10))
    assert all((features[:, 0] == labels).all() for features, labels in part.batches(3, seed=5))
