import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_mlops.contract import Column, Profile, Run, Schema, Table
from ray_mlops.platform import content, tables
from ray_mlops.stages import analyse
from ray_mlops.stages.analyse import AnalyseConfig

pytestmark = pytest.mark.usefixtures("ray_session")

SCHEMA = Schema(
    columns=(
        Column(name="id", type="int64"),
        Column(name="time", type="timestamp"),
        Column(name="card", type="int64"),
        Column(name="amount", type="float64"),
        Column(name="channel", type="string", nullable=True),
        Column(name="scenario", type="int64"),
        Column(name="fraud", type="int64"),
    ),
    key="id",
    time="time",
    label="fraud",
    amount="amount",
    entities=("card",),
)
HANDBOOK = {
    "TRANSACTION_ID": "id",
    "TX_DATETIME": "time",
    "CUSTOMER_ID": "card",
    "TX_AMOUNT": "amount",
    "TX_FRAUD": "fraud",
}


def events(rows: int) -> pa.Table:
    random = np.random.default_rng(0)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=minute) for minute in random.integers(0, 30 * 1440, rows).tolist()]
    fraud = (random.random(rows) < 0.02).astype(np.int64)
    return pa.table(
        {
            "id": pa.array(range(rows)),
            "time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "card": random.integers(0, 200, rows),
            "amount": random.lognormal(3, 1, rows) * (1 + 2 * fraud),
            "channel": pa.array(random.choice(["chip", "web"], rows), pa.string(), mask=random.random(rows) < 0.1),
            "scenario": fraud * random.integers(1, 4, rows),
            "fraud": fraud,
        }
    )


def stored(rows: pa.Table, cuts: list[int], root: Path, data: Schema = SCHEMA) -> Table:
    """The rows as a table of several files."""
    run = Run(root=str(root), id="r", recipe="test", uri=str(root), fingerprint="f")
    bounds = [0, *cuts, rows.num_rows]
    folder = str(root / "data")
    entries = [
        entry
        for start, end in pairwise(bounds)
        for entry in tables.write_part(rows.slice(start, end - start), folder).to_pylist()
    ]
    return Table(**dict(tables.commit(entries, "test.events", run, sources={})), data=data)


def analysed(table: Table, root: Path) -> tuple[Profile, dict]:
    run = Run(root=str(root), id="r", recipe="test", uri=str(root / "profile"), fingerprint="p")
    profile = analyse.run(AnalyseConfig(), run, table=table)
    return profile, json.loads((root / "profile" / "profile.json").read_text())


def test_a_profile_is_the_same_however_the_rows_lie_in_files(tmp_path):
    rows = events(4_000)
    for name, cuts in (("one", []), ("many", [1, 700, 701, 3_000])):
        analysed(
            stored(rows if name == "one" else rows.take(np.arange(4_000)[::-1]), cuts, tmp_path / name), tmp_path / name
        )
    for file in ("profile.json", "report.html"):
        assert (tmp_path / "one/profile" / file).read_bytes() == (tmp_path / "many/profile" / file).read_bytes()


def test_a_profile_names_what_matters(tmp_path):
    rows = events(4_000)
    profile, found = analysed(stored(rows, [2_000], tmp_path), tmp_path)
    assert (profile.rows, profile.positives) == (4_000, int(np.sum(rows["fraud"].to_numpy())))
    assert profile.leaks == ("scenario",) and profile.warnings == ()
    assert (
        profile.report.endswith("report.html")
        and "scenario alone gives the label away" in Path(profile.report).read_text()
    )
    assert found["columns"]["channel"]["missing"] == rows["channel"].null_count
    assert found["columns"]["amount"]["minimum"] == min(rows["amount"].to_pylist())
    assert found["power"][1]["column"] == "amount"


def test_what_would_flatter_a_model_is_warned_of(tmp_path):
    rows = events(4_000).sort_by("fraud").drop_columns("id").add_column(0, "id", pa.array(range(4_000)))
    profile, found = analysed(stored(rows, [2_000], tmp_path), tmp_path)
    assert [warning.split(" (")[0] for warning in profile.warnings] == ["id tells the label"]
    assert found["checks"]["key"]["auc"] > 0.99 and profile.warnings[0] in Path(profile.report).read_text()


def test_least_values_come_from_the_files_alone(tmp_path):
    rows = events(500)
    holes = rows.set_column(3, "amount", pa.array([float("nan"), None, *range(7, 505)], pa.float64()))
    assert analyse.least_values(stored(holes, [2], tmp_path)) == {
        "id": 0.0, "card": float(min(rows["card"].to_pylist())), "amount": 7.0, "scenario": 0.0, "fraud": 0.0,
    }  # fmt: skip


def test_the_public_benchmark_has_its_published_figures(tmp_path, shared_data):
    source = pq.read_table(shared_data / "handbook" / "transactions.parquet", columns=list(HANDBOOK))
    data = Schema(
        columns=tuple(column for column in SCHEMA.columns if column.name in HANDBOOK.values()),
        key="id", time="time", label="fraud", amount="amount", entities=("card",),
    )  # fmt: skip
    rows = source.rename_columns(list(HANDBOOK.values())).cast(
        pa.schema(
            [
                (column.name, content.ARROW_TYPES[column.type])
                for name in HANDBOOK.values()
                for column in [data.column(name)]
            ]
        )
    )
    table = stored(rows, [500_000, 1_000_000, 1_500_000], tmp_path, data)
    profile, found = analysed(table, tmp_path)
    assert (profile.rows, profile.positives, profile.leaks, profile.warnings) == (1_754_155, 14_681, (), ())
    assert len(found["days"]) == 183 and found["first"].startswith("2018-04-01")
    assert found["entities"]["card"]["distinct"] == 4_990
    assert Path(profile.report).stat().st_size < 5_000_000
