"""Ingest from S3 and clean into S3, against a server of our own; Ray is a second one, started with its address."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from ray_mlops.contract import Run
from ray_mlops.errors import DataError
from ray_mlops.fraud.simulate import TRANSACTIONS, Simulator, simulate
from ray_mlops.platform import tables
from ray_mlops.platform.formats import Csv
from ray_mlops.platform.inputs import digests, expand

LIFECYCLE = """
import json, sys
from ray_mlops.contract import Run, Table
from ray_mlops.fraud.simulate import TRANSACTIONS
from ray_mlops.platform import files, runtime, tables
from ray_mlops.stages import clean, ingest

root, source = sys.argv[1:]
config = ingest.IngestConfig(data=TRANSACTIONS, sources=(ingest.Csv(path=source),))
runtime.connect()
try:
    raw = ingest.run(config, Run(root=root, id="r", recipe="test", uri=f"{root}/ingest", fingerprint="f"))
    table = clean.run(clean.CleanConfig(), Run(root=root, id="r", recipe="test", uri=f"{root}/clean"), table=raw)
    bad = tables.load(Table.model_validate_json(files.read_text(table.quarantine))).num_rows
    found = tables.load(table)
finally:
    runtime.disconnect()
    runtime.stop()
print(json.dumps({"rows": found.num_rows, "bad": bad, "metadata": table.metadata, "sources": dict(table.sources),
                  "report": files.read_json(table.report), "amount": sum(found["amount"].to_pylist())}))
runtime.leave(0)
"""


@pytest.fixture(scope="module")
def s3(s3_server: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of a process that uses the server; bucket `bank` holds two CSV files of one table."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in s3_server.items():
            patch.setenv(key, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bank")
        client.create_bucket(Bucket="root")
        lines = csv_lines()
        client.put_object(Bucket="bank", Key="in/2018/a.csv", Body="\n".join(lines[:300]).encode())
        client.put_object(Bucket="bank", Key="in/2018/b.csv", Body="\n".join([lines[0], *lines[300:], "1,2"]).encode())
        client.put_object(Bucket="bank", Key="in/empty/c.csv", Body=b"")
        yield s3_server


def csv_lines() -> list[str]:
    rows = simulate(Simulator(customers=40, terminals=300, days=20, compromised_terminals=20), 0)
    rows = rows.select(list(TRANSACTIONS.names)).to_pylist()
    return [",".join(TRANSACTIONS.names), *(",".join(str(value) for value in row.values()) for row in rows)]


@pytest.mark.usefixtures("s3")
def test_objects_are_found_and_identified_by_entity_tag() -> None:
    files = expand(["s3://bank/in/2018/*.csv"], [".csv"])
    assert [file.label for file in files] == ["s3://bank/in/2018/a.csv", "s3://bank/in/2018/b.csv"]
    assert [file.label for file in expand(["s3://bank/in/2018"], [".csv"])] == [file.label for file in files]
    values = digests(files)
    tag = boto3.client("s3").head_object(Bucket="bank", Key="in/2018/a.csv")["ETag"].strip('"')
    assert values["s3://bank/in/2018/a.csv"] == f"{tag}-{files[0].size}"


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://bank/in/2018/c.csv", r"no file or folder s3://bank/in/2018/c\.csv"),
        ("s3://bnak/in", r"s3://bnak/in"),
        ("s3://bank/in/empty/c.csv", r"s3://bank/in/empty/c\.csv is empty"),
    ],
)
def test_what_is_not_there_is_named(path: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Csv(path=path).pieces(TRANSACTIONS)


def test_the_first_stages_run_from_s3_into_s3(s3: dict[str, str], tmp_path: Path) -> None:
    environment = {**os.environ, **s3, "RAY_MLOPS_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, "-c", LIFECYCLE, "s3://root/mlops", "s3://bank/in/2018"],
        check=False, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    expected = simulate(Simulator(customers=40, terminals=300, days=20, compromised_terminals=20), 0)
    assert (found["rows"], found["bad"]) == (expected.num_rows, 1)
    assert found["amount"] == pytest.approx(sum(expected["amount"].to_pylist()))
    assert list(found["sources"]) == ["s3://bank/in/2018/a.csv", "s3://bank/in/2018/b.csv"]
    assert found["metadata"].startswith("s3://root/mlops/tables/fraud/transactions/clean/")
    assert found["report"]["reasons"] == {"unreadable line: 2 fields instead of 6": 1}


def test_tables_of_an_emptied_bucket_begin_anew(s3: dict[str, str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where the catalog lies
    client = boto3.client("s3")
    client.create_bucket(Bucket="emptied")
    run = Run(root="s3://emptied/mlops", id="r", recipe="test", uri="s3://emptied/mlops/a", fingerprint="f")
    rows = simulate(Simulator(customers=40, terminals=300, days=20, compromised_terminals=20), 0)
    first = tables.write_arrow(rows, "t.rows", run, data=TRANSACTIONS)
    for entry in client.list_objects_v2(Bucket="emptied")["Contents"]:
        client.delete_object(Bucket="emptied", Key=entry["Key"])
    again = tables.write_arrow(rows, "t.rows", run, data=TRANSACTIONS)
    assert again.snapshot == first.snapshot and tables.load(again).num_rows == rows.num_rows
