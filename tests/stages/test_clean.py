"""Clean: legal rows on one side, illegal ones with their reasons on the other, and nothing in between."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_mlops.contract import CleanTable, Run, Table
from ray_mlops.errors import DataError
from ray_mlops.fraud.simulate import TRANSACTIONS, Simulator, simulate
from ray_mlops.platform import files, tables
from ray_mlops.stages import clean
from ray_mlops.stages.clean import CleanConfig

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(root=str(tmp_path), id="r", recipe="test", uri=str(tmp_path / "clean"), fingerprint="f")


@pytest.fixture(scope="module")
def good() -> pa.Table:
    rows = simulate(Simulator(customers=60, terminals=300, days=30, compromised_terminals=9), 0)
    return rows.select(list(TRANSACTIONS.names)).append_column("_error", pa.nulls(rows.num_rows, pa.string()))


def changed(rows: pa.Table, name: str, changes: dict[int, object]) -> pa.Table:
    values = rows.column(name).to_pylist()
    for index, value in changes.items():
        values[index] = value
    position = rows.column_names.index(name)
    return rows.set_column(position, name, pa.array(values, rows.schema.field(name).type))


@pytest.fixture(scope="module")
def dirty(good: pa.Table) -> pa.Table:
    """20 bad rows among some 3,500: 4 amounts, 2 times, 1 label, 1 unreadable, 10 + 2 duplicates."""
    rows = changed(good, "amount", {0: float("nan"), 1: float("inf"), 2: -1.0, 3: None})
    rows = changed(rows, "_error", {3: '{"values":{"amount":"abc"}}'})
    rows = changed(rows, "time", {4: None, 5: datetime(2999, 1, 1, tzinfo=UTC)})
    rows = changed(rows, "is_fraud", {6: 2})
    error = json.dumps({"line": "a,b", "where": "f.csv line 9", "why": "2 fields instead of 6"})
    unreadable = pa.table(
        {**{name: pa.nulls(1, good.schema.field(name).type) for name in TRANSACTIONS.names}, "_error": [error]}
    )
    later = [time + timedelta(days=1) for time in good.column("time").slice(100, 2).to_pylist()]
    conflicting = changed(good.slice(100, 2), "time", dict(enumerate(later)))
    return pa.concat_tables([rows, unreadable, good.slice(50, 10), conflicting])


def put(rows: pa.Table, run: Run, name: str = "fraud.transactions", parts: int = 1) -> Table:
    """A raw table of the rows in so many parts."""
    size = -(-rows.num_rows // parts)
    pieces = [
        tables.write_part(rows.slice(start, size), files.join(run.root, "parts"))
        for start in range(0, rows.num_rows, size)
    ]
    return Table(
        **dict(tables.commit(pa.concat_tables(pieces).to_pylist(), name, run, sources={"here": "x"})), data=TRANSACTIONS
    )


def quarantined(table: CleanTable) -> pa.Table:
    return tables.load(Table.model_validate_json(files.read_text(table.quarantine)))


def test_clean_rows_pass_unchanged(good: pa.Table, run: Run) -> None:
    raw = put(good, run)
    table = clean.run(CleanConfig(), run, table=raw)
    assert (table.rows_in, table.rows, table.quarantined, table.quarantine) == (raw.rows, raw.rows, 0, "")
    assert (
        table.name == "fraud.transactions.clean"
        and table.columns == TRANSACTIONS.names
        and table.sources == {"here": "x"}
    )
    found = tables.load(table).sort_by("transaction_id")
    assert found.equals(good.select(list(TRANSACTIONS.names)).sort_by("transaction_id"))


def test_bad_rows_are_quarantined_with_their_reasons(dirty: pa.Table, good: pa.Table, run: Run) -> None:
    table = clean.run(CleanConfig(), run, table=put(dirty, run))
    assert table.reasons == {
        "transaction_id: duplicate": 10,
        "amount: NaN or infinite": 2,
        "transaction_id: conflicting duplicate": 2,
        "amount: below 0": 1,
        "amount: not a float64": 1,
        "is_fraud: not one of 0, 1": 1,
        "time: in the future": 1,
        "time: missing": 1,
        "unreadable line: 2 fields instead of 6": 1,
    }
    assert table.rows_in == dirty.num_rows == table.rows + table.quarantined and table.quarantined == 20
    bad = quarantined(table)
    assert bad.num_rows == 20 and bad.column_names == [*TRANSACTIONS.names, "_error", "reason"]
    by_reason = {row["reason"]: row for row in bad.to_pylist()}
    assert json.loads(by_reason["amount: not a float64"]["_error"]) == {"values": {"amount": "abc"}}
    assert json.loads(by_reason["unreadable line: 2 fields instead of 6"]["_error"])["line"] == "a,b"
    assert by_reason["amount: below 0"]["amount"] == -1.0
    kept = tables.load(table).sort_by("transaction_id")
    assert kept.equals(good.select(list(TRANSACTIONS.names)).slice(7).sort_by("transaction_id"))


def test_the_report_tells_counts_and_shows_rows(dirty: pa.Table, run: Run) -> None:
    raw = put(dirty, run)
    files.write_json(files.join(raw.uri, "ingest.json"), {"out_of_order": 3, "time_zone_conversions": 4})
    report = files.read_json(clean.run(CleanConfig(samples=2), run, table=raw).report)
    assert (report["rows_in"], report["quarantined"]) == (dirty.num_rows, 20)
    assert (report["duplicates"], report["conflicting_duplicates"]) == (10, 2)
    assert (report["out_of_order"], report["time_zone_conversions"]) == (3, 4)
    assert sum(report["labels"].values()) == report["rows"] and set(report["labels"]) == {"0", "1"}
    assert len(report["samples"]["transaction_id: duplicate"]) == 2
    assert report["samples"]["amount: below 0"][0]["amount"] == -1.0


@pytest.mark.parametrize(("parts", "unshuffled_keys"), [(1, 0), (5, 0), (5, 20_000_000)])
def test_the_result_does_not_depend_on_parts_or_on_the_way_duplicates_are_found(
    dirty: pa.Table, run: Run, parts: int, unshuffled_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean, "_PARTITION_ROWS", 1_000)
    expected = clean.run(CleanConfig(), run, table=put(dirty, run))
    order = np.random.default_rng(0).permutation(dirty.num_rows)
    shuffled = put(dirty.take(pa.array(order)), run, "fraud.other", parts)
    table = clean.run(CleanConfig(unshuffled_keys=unshuffled_keys), run, table=shuffled)
    assert (table.snapshot, table.reasons) == (expected.snapshot, expected.reasons)
    assert files.read_json(table.report) == files.read_json(expected.report)


def test_clean_keys_need_no_partition_and_give_the_same_with_one(good: pa.Table, run: Run) -> None:
    raw = put(good, run, parts=3)
    assert (
        clean.run(CleanConfig(unshuffled_keys=0), run, table=raw).snapshot
        == clean.run(CleanConfig(), run, table=raw).snapshot
    )


def test_too_many_bad_rows_stop_the_run_and_leave_nothing(dirty: pa.Table, run: Run) -> None:
    raw = put(dirty, run)
    with pytest.raises(DataError) as caught:
        clean.run(CleanConfig(max_bad_share=0.001), run, table=raw)
    message = str(caught.value)
    assert f"20 of {dirty.num_rows:,} rows of fraud.transactions" in message and "max_bad_share is 0.10%" in message
    assert 'transaction_id: duplicate (10 rows, for example {"transaction_id":' in message and "4 more" in message
    assert "clean.max_bad_share" in message
    assert not files.exists(files.join(run.uri, "clean.json"))
    assert not files.exists(files.join(run.root, "tables", "fraud", "transactions", "clean"))


def test_times_that_could_not_be_read_come_with_a_hint(good: pa.Table, run: Run) -> None:
    rows = changed(good, "time", dict.fromkeys(range(500)))
    rows = changed(rows, "_error", dict.fromkeys(range(500), '{"values":{"time":"1/2/24"}}'))
    with pytest.raises(DataError, match=r"time: not a timestamp \(500 rows.*time_format or time_unit"):
        clean.run(CleanConfig(), run, table=put(rows, run))


@pytest.mark.parametrize("label", [0, 1])
def test_a_label_of_one_class_stops_the_run(good: pa.Table, run: Run, label: int) -> None:
    rows = changed(good, "is_fraud", dict.fromkeys(range(good.num_rows), label))
    with pytest.raises(
        DataError, match=f"label is_fraud of fraud.transactions is {label} in all {good.num_rows:,} rows"
    ):
        clean.run(CleanConfig(), run, table=put(rows, run))


def test_the_future_begins_where_the_config_says(good: pa.Table, run: Run) -> None:
    latest = datetime(2018, 4, 20)
    after = sum(time > latest.replace(tzinfo=UTC) for time in good.column("time").to_pylist())
    table = clean.run(CleanConfig(latest=latest, max_bad_share=1), run, table=put(good, run))
    assert table.reasons == {"time: in the future": after}


def test_a_second_run_over_debris_gives_the_same(dirty: pa.Table, run: Run) -> None:
    raw = put(dirty, run)
    config = CleanConfig(latest=datetime(2030, 1, 1))
    assert clean.run(config, run, table=raw) == clean.run(config, run, table=raw)
    assert clean.run(CleanConfig(), run, table=raw).latest is not None  # the moment that was tomorrow
