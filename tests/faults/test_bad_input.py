"""Bad input to the command line: a clear message, a non-zero exit, and nothing half-written."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import lifecycle

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(300)]

ROWS = 4000


def transactions() -> pa.Table:
    """Sixty days of transactions without anything wrong."""
    dice = np.random.default_rng(7)
    seconds = np.sort(dice.integers(0, 60 * 86_400, ROWS))
    return pa.table(
        {
            "transaction_id": np.arange(ROWS),
            "time": pa.array((seconds + 1_700_000_000) * 1_000_000, pa.timestamp("us", tz="UTC")),
            "customer_id": dice.integers(0, 50, ROWS),
            "terminal_id": dice.integers(0, 90, ROWS),
            "amount": dice.gamma(2.0, 30.0, ROWS).round(2),
            "is_fraud": (dice.random(ROWS) < 0.05).astype(np.int64),
        }
    )


def replaced(table: pa.Table, name: str, values: np.ndarray | pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def bad_amounts(table: pa.Table) -> pa.Table:
    amounts = table["amount"].to_numpy().copy()
    amounts[::40], amounts[1::40] = np.nan, np.inf
    return replaced(table, "amount", amounts)


def write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)


def truncated(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)
    path.write_bytes(path.read_bytes()[:2000])


CASES: dict[str, tuple[Callable[[pa.Table, Path], None], str]] = {
    "missing file": (lambda table, path: None, "input.parquet"),
    "empty file": (lambda table, path: path.write_bytes(b""), "input.parquet"),
    "no rows": (lambda table, path: write(table.slice(0, 0), path), "no rows"),
    "wrong column": (lambda table, path: write(table.rename_columns({"amount": "amuont"}), path), "'amuont'"),
    "one class": (lambda table, path: write(replaced(table, "is_fraud", np.zeros(ROWS, int)), path), "is_fraud"),
    "NaN and inf": (lambda table, path: write(bad_amounts(table), path), "amount"),
    "duplicate ids": (lambda table, path: write(replaced(table, "transaction_id", np.arange(ROWS) // 2), path), "dupl"),
    "truncated": (truncated, "input.parquet"),
}


def run(path: Path, root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    source = f"ingest.sources.0={{kind: parquet, path: {path}}}"
    return lifecycle.call("run", lifecycle.TINY, "--root", str(root), "-s", source, *more)


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_in_one_clear_line(case: str, tmp_path: Path) -> None:
    make, named = CASES[case]
    path, root = tmp_path / "input.parquet", tmp_path / "root"
    make(transactions(), path)
    done = run(path, root)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("ray-mlops: ") and named in done.stderr, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    record = lifecycle.newest_run(root)
    assert record["status"] == "failed" and named in record["error"]
    finished = [stage["stage"] for stage in record["stages"]]
    manifests = [path.parents[1].name for path in (root / "artifacts").rglob("manifest.json")]
    assert sorted(manifests) == sorted(finished), "a manifest stands only where a stage finished"


def test_events_out_of_order_are_counted_and_change_nothing(tmp_path: Path) -> None:
    ordered, shuffled = tmp_path / "ordered.parquet", tmp_path / "shuffled.parquet"
    table = transactions()
    write(table, ordered)
    write(table.take(np.random.default_rng(0).permutation(ROWS)), shuffled)
    snapshots = []
    for path in (ordered, shuffled):
        done = run(path, tmp_path / path.stem, "--to", "clean")
        assert done.returncode == 0, done.stderr
        record = lifecycle.newest_run(tmp_path / path.stem)
        snapshots.append(lifecycle.artifact(record, "clean")["snapshot"])
        report = Path(lifecycle.artifact(record, "clean")["report"]).read_text()
    assert snapshots[0] == snapshots[1]
    assert '"out_of_order": 0' not in report and '"out_of_order"' in report
