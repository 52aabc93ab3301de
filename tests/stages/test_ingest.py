"""Ingest: every kind of source gives the same table, and what cannot be read leaves nothing behind."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from ray_mlops.contract import Column, Run, Schema, Table
from ray_mlops.errors import DataError
from ray_mlops.fraud.simulate import TRANSACTIONS, Simulator, simulate
from ray_mlops.platform import files, spans, tables
from ray_mlops.stages import ingest
from ray_mlops.stages.ingest import Csv, IngestConfig, JsonLines, Parquet, Sql

pytestmark = pytest.mark.usefixtures("ray_session")

SMALL = Simulator(customers=40, terminals=300, days=30)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(root=str(tmp_path / "root"), id="r", recipe="test", uri=str(tmp_path / "root" / "a"), fingerprint="f")


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return simulate(SMALL, 0).select(list(TRANSACTIONS.names))


def read(run: Run, *sources: ingest.AnySource, data: Schema = TRANSACTIONS, mode: str = "replace") -> Table:
    return ingest.run(IngestConfig.model_validate({"data": data, "sources": sources, "mode": mode}), run)


def as_parquet(rows: pa.Table, path: Path) -> Parquet:
    pq.write_table(rows, path, row_group_size=500)
    return Parquet(path=str(path))


def as_csv(rows: pa.Table, path: Path) -> Csv:
    pa.csv.write_csv(rows, path)
    return Csv(path=str(path))


def as_json_lines(rows: pa.Table, path: Path) -> JsonLines:
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows.to_pylist()))
    return JsonLines(path=str(path))


def as_sql(rows: pa.Table, path: Path) -> Sql:
    with sqlite3.connect(path) as connection:
        connection.execute(f"create table payments ({', '.join(rows.column_names)})")
        values = [
            tuple(str(value) if name == "time" else value for name, value in row.items()) for row in rows.to_pylist()
        ]
        connection.executemany(f"insert into payments values ({', '.join('?' * rows.num_columns)})", values)
    connection.close()
    return Sql(url=f"sqlite:///{path}", query="select * from payments", partition_on="transaction_id", partitions=3)


def report(run: Run) -> dict:
    return files.read_json(files.join(run.uri, "ingest.json"))


def errors(table: Table) -> list[dict]:
    return [json.loads(text) for text in tables.load(table).column("_error").drop_null().to_pylist()]


@pytest.mark.parametrize("write", [as_parquet, as_csv, as_json_lines, as_sql])
def test_every_kind_of_source_gives_the_rows_of_the_simulator(
    run: Run, rows: pa.Table, tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "SPAN_BYTES", 20_000)
    monkeypatch.setattr(ingest, "_TASK_BYTES", 50_000)
    table = read(run, write(rows, tmp_path / "data"))
    assert table.rows == rows.num_rows and table.columns == (*TRANSACTIONS.names, "_error")
    found = tables.load(table, columns=list(TRANSACTIONS.names)).sort_by("transaction_id")
    assert found.equals(rows.sort_by("transaction_id"))
    assert table.snapshot == read(run, SMALL).snapshot
    assert table.snapshot == read(run, write(rows, tmp_path / "again")).snapshot


def test_sources_of_different_kinds_make_one_table(run: Run, rows: pa.Table, tmp_path: Path) -> None:
    third = rows.num_rows // 3
    names = {name: name.upper() for name in rows.column_names}
    (tmp_path / "parts").mkdir()
    as_parquet(rows.slice(0, 50), tmp_path / "parts" / "a.parquet")
    as_parquet(rows.slice(50, third - 50), tmp_path / "parts" / "b.parquet")
    shouted = as_csv(rows.slice(third, third).rename_columns(names), tmp_path / "b.csv")
    table = read(
        run,
        Parquet(path=str(tmp_path / "parts")),
        shouted.model_copy(update={"rename": {loud: name for name, loud in names.items()}}),
        as_json_lines(rows.slice(2 * third), tmp_path / "c.jsonl"),
    )
    assert table.snapshot == read(run, SMALL).snapshot
    assert [Path(name).name for name in table.sources] == ["a.parquet", "b.parquet", "b.csv", "c.jsonl"]
    assert sum(report(run)["sources"].values()) > 0


def doubled(table: pa.Table) -> pa.Table:
    """Amounts in another currency."""
    return table.set_column(0, "amount", pa.array([2 * value for value in table.column("amount").to_pylist()]))


def test_a_transform_is_applied_and_changes_the_content(run: Run, rows: pa.Table, tmp_path: Path) -> None:
    source = as_parquet(
        rows.select(["amount", *(name for name in rows.column_names if name != "amount")]), tmp_path / "a.parquet"
    )
    table = read(run, source.model_copy(update={"transform": doubled}))
    assert sum(tables.load(table)["amount"].to_pylist()) == pytest.approx(2 * sum(rows["amount"].to_pylist()))


def test_append_keeps_the_rows_and_the_old_snapshot(run: Run, rows: pa.Table, tmp_path: Path) -> None:
    old = read(run, as_parquet(rows.slice(0, 100), tmp_path / "a.parquet"))
    later = replace(run, fingerprint="later")
    both = read(later, as_parquet(rows.slice(100), tmp_path / "b.parquet"), mode="append")
    assert both.rows == rows.num_rows and tables.load(both).num_rows == rows.num_rows
    assert both.snapshot == read(run, SMALL).snapshot != old.snapshot
    assert tables.load(old).num_rows == old.rows == 100


def test_bad_values_and_bad_lines_stay_in_the_table_with_their_text(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "transaction_id,time,customer_id,terminal_id,amount,is_fraud\n"
        "1,2024-01-01 10:00:00,1,1,5.0,0\n"
        "2,2024-01-01 11:00:00,1,1,abc,0\n"
        "3,yesterday,1,1,x,0\n"
        "4,2024-01-01\n"
        '5,2024-01-01,"1,1,6.0,0\n'
        "6,2024-01-01T09:00:00+02:00,1,1,6.0,1\n"
    )
    table = read(run, Csv(path=str(path), timezone="Europe/Madrid"))
    assert table.rows == 6
    assert sorted(errors(table), key=str) == sorted(
        [
            {"values": {"amount": "abc"}},
            {"values": {"time": "yesterday", "amount": "x"}},
            {"line": "4,2024-01-01", "where": "a.csv line 5", "why": "2 fields instead of 6"},
            {"line": '5,2024-01-01,"1,1,6.0,0', "where": "a.csv line 6", "why": "a quote is not closed"},
        ],
        key=str,
    )
    found = report(run)
    assert (found["rows"], found["unreadable_lines"], found["rows_with_uncast_values"]) == (6, 2, 2)
    assert found["out_of_order"] == 1 and found["time_zone_conversions"] == 4


def test_out_of_order_is_counted_within_a_file_and_across_its_parts(
    run: Run, rows: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = as_csv(rows.sort_by([("time", "descending")]), tmp_path / "a.csv")
    times = rows.column("time").to_pylist()
    read(run, source)
    expected = len(times) - 1 - sum(later == earlier for later, earlier in zip(times[1:], times, strict=False))
    assert report(run)["out_of_order"] == expected
    monkeypatch.setattr(spans, "SPAN_BYTES", 5_000)
    read(run, source)
    assert report(run)["out_of_order"] == expected


def truncated(path: Path, rows: pa.Table) -> Parquet:
    source = as_parquet(rows, path / "t.parquet")
    (path / "t.parquet").write_bytes((path / "t.parquet").read_bytes()[:-9])
    return source


def damaged(path: Path, rows: pa.Table) -> Parquet:
    pq.write_table(rows, path / "d.parquet", compression="zstd", use_dictionary=False)
    content = bytearray((path / "d.parquet").read_bytes())
    content[4:2000] = bytes(1996)
    (path / "d.parquet").write_bytes(content)
    return Parquet(path=str(path / "d.parquet"))


def text(path: Path, content: str) -> Csv:
    (path / "a.csv").write_text(content)
    return Csv(path=str(path / "a.csv"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, rows: Csv(path=str(path / "payments.csv")), r"no file or folder .*payments\.csv"),
        (lambda path, rows: text(path, ""), r"a\.csv is empty \(0 bytes\)"),
        (lambda path, rows: text(path, ",".join(TRANSACTIONS.names) + "\n"), r"a\.csv: there are no rows"),
        (lambda path, rows: text(path, "transaction_id,time\n1,2\n"), r"a\.csv has no column 'customer_id'"),
        (lambda path, rows: as_parquet(rows.slice(0, 0), path / "z.parquet"), r"z\.parquet: there are no rows"),
        (lambda path, rows: as_parquet(rows.rename_columns({"amount": "amuont"}), path / "r.parquet"), "nearest is 'amuont'"),
        (lambda path, rows: truncated(path, rows), r"t\.parquet is not a readable Parquet file"),
        (lambda path, rows: damaged(path, rows), r"d\.parquet is not a readable Parquet file"),
        (lambda path, rows: Sql(url=f"sqlite:///{path}/no.db", query="select 1"), "no database file"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_so_and_leaves_nothing(
    run: Run, rows: pa.Table, tmp_path: Path, make, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(run, make(tmp_path, rows))
    assert not files.exists(files.join(run.uri, "ingest.json"))
    assert not [
        name for name in files.listing(files.join(run.root, "tables", "fraud", "transactions")) if name == "metadata"
    ]


def test_a_failed_run_leaves_the_old_snapshot_as_it_was(run: Run, rows: pa.Table, tmp_path: Path) -> None:
    old = read(run, SMALL)
    with pytest.raises(DataError):
        read(run, damaged(tmp_path, rows))
    assert tables.load(old).num_rows == old.rows
    assert read(run, SMALL) == old


def test_the_identity_names_every_input(rows: pa.Table, tmp_path: Path) -> None:
    config = IngestConfig(data=TRANSACTIONS, sources=(SMALL, as_parquet(rows, tmp_path / "a.parquet")))
    before = ingest.identity(config)
    assert [name.split("#")[0] for name in before] == ["simulator", str(tmp_path / "a.parquet")]
    as_parquet(rows.slice(1), tmp_path / "a.parquet")
    assert ingest.identity(config) != before


def test_the_simulated_rows_do_not_depend_on_how_they_are_shared_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Simulator(customers=700, terminals=300, days=10)
    together = read(run, source)
    monkeypatch.setattr(ingest, "_TASK_BYTES", 1)
    assert len(ingest._packed([ingest._Share(source, piece) for piece in source.pieces(TRANSACTIONS)])) == 3
    assert read(run, source).snapshot == together.snapshot


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sources": ()}, "at least 1 item"),
        ({"name": "transactions"}, "pattern"),
        ({"mode": "apend"}, "'replace' or 'append'"),
        ({"sources": ({"kind": "parqet", "path": "x"},)}, "'parquet', 'csv', 'jsonl', 'sql', 'simulator'"),
        ({"sources": ({"kind": "csv", "path": "x", "rename": {"a": "amuont"}},)}, "'amuont', which is not declared"),
        ({"sources": ({"kind": "csv", "path": "x", "rename": {"a": "time", "b": "time"}},)}, "two columns to 'time'"),
        ({"data": Schema(columns=(*TRANSACTIONS.columns, Column(name="reason", type="string")), key="transaction_id",
                         time="time", label="is_fraud")}, "cannot be called reason"),
    ],
)  # fmt: skip
def test_an_impossible_config_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        IngestConfig.model_validate({"data": TRANSACTIONS, "sources": (SMALL,), **fields})
