"""What nothing refers to is freed, on a folder and on S3; what something refers to, or a run may be writing, stays."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pytest

from ray_mlops import commands, recipes, runs
from ray_mlops.contract import Run, Table
from ray_mlops.errors import StorageError
from ray_mlops.garbage import collection
from ray_mlops.garbage.collection import Freed, collected
from ray_mlops.platform import files, provenance, store, sweeping, tables
from ray_mlops.platform.bundle import Bundle, origin
from ray_mlops.platform.registry import Registry
from ray_mlops.platform.tracking import default_uri
from ray_mlops.serving import records
from tests.small_model import TRANSACTIONS

NOW = timedelta(0)


@pytest.fixture(params=["folder", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty run root."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_MLOPS_CATALOG", raising=False)
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if request.param == "folder":
        yield str(tmp_path / "root")
        return
    for name, value in request.getfixturevalue("s3_server").items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=tmp_path.name.replace("_", "-"))
    yield f"s3://{tmp_path.name.replace('_', '-')}/mlops"


def table(root: str, seed: int, rows: int = 50) -> Table:
    """A snapshot of the table `small.clean`."""
    run = Run(root=root, id="r", recipe="small", uri=f"{root}/artifacts/clean/{seed}", fingerprint=str(seed))
    values = pa.table({"transaction_id": np.random.default_rng(seed).integers(0, 1000, rows)})
    return tables.write_arrow(values, "small.clean", run, data=TRANSACTIONS)


def bundle(root: str, tmp_path: Path, number: int, history: Table) -> Bundle:
    (tmp_path / "source").mkdir(exist_ok=True)
    (tmp_path / "source" / "model").write_text(str(number))
    made = Bundle.write(str(tmp_path / "source"), f"{root}/bundles")
    files.write_json(origin(made.uri), {"history": history.model_dump(mode="json")})
    files.write_json(provenance.beside(made.uri), {"run": "fraud-1"})
    return made


def artifact(root: str, stage: str, fingerprint: str, **fields: Any) -> dict[str, Any]:
    """A finished artifact with a file."""
    folder = store.folder(root, stage, fingerprint)
    made = {"uri": folder, "fingerprint": fingerprint, **fields}
    files.write_text(f"{folder}/report.html", "x" * 1000)
    files.write_json(f"{folder}/{store.MANIFEST}", {"artifact": made})
    return made


def recorded(root: str, identity: str, stages: dict[str, dict[str, Any]], status: str = "done") -> None:
    """The record of a run."""
    entries = [{"stage": stage, "artifact": made} for stage, made in stages.items()]
    files.write_text(f"{root}/runs/{identity}/config.yaml", runs.dump(recipes.fraud(), "fraud"))
    files.write_json(f"{root}/runs/{identity}/run.json", {"id": identity, "status": status, "stages": entries})


def names(root: str, freed: list[Freed]) -> set[str]:
    return {item.uri.removeprefix(f"{root}/") for item in freed}


def test_what_nothing_refers_to_is_freed_and_the_rest_stays_whole(root: str, tmp_path: Path) -> None:
    history, deployed, loose = (table(root, seed) for seed in (1, 2, 3))
    current, aside = table(root, 4), table(root, 5)
    bundles = [bundle(root, tmp_path, number, made) for number, made in enumerate((history, deployed, loose))]
    registry = Registry(default_uri(root))
    registry.register("small", bundles[0])
    url = {"name": "many", "url": "http://127.0.0.1:21198/many"}
    records.write(root, "many", records.MODELS, {**url, "models": {"small": {"digest": bundles[1].digest}}})
    files.write_text(f"{root}/artifacts/clean/kept/quarantine.json", aside.model_dump_json())
    kept = artifact(root, "clean", "kept", quarantine=f"{root}/artifacts/clean/kept/quarantine.json")
    recorded(root, "fraud-1", {"clean": kept, "analyse": artifact(root, "analyse", "kept")})
    artifact(root, "clean", "loose", **loose.model_dump(mode="json", include={"metadata", "iceberg_snapshot"}))
    files.write_text(f"{root}/artifacts/train/died/model", "half")
    files.write_text(f"{root}/bundles/.writing-x/model", "half")
    files.write_text(f"{root}/verify/fraud-1-ab/artifacts/a", "left")
    files.write_text(f"{root}/runs/fraud-1/.run.json.x", "half")
    loose_parts = {path.rpartition("/tables/")[2] for path in tables.paths(loose)}

    assert collected(root, timedelta(hours=1), dry_run=False) == []  # all of it is new
    promised = collected(root, NOW, dry_run=True)
    freed = collected(root, NOW, dry_run=False)
    assert names(root, promised) == names(root, freed)
    found = {name for name in names(root, freed) if not name.startswith("tables/")}
    assert found == {
        "artifacts/clean/loose", "artifacts/train/died", "bundles/.writing-x", f"bundles/{bundles[2].digest}",
        f"bundles/{bundles[2].digest}.origin.json", f"bundles/{bundles[2].digest}.made.json", "verify/fraud-1-ab",
        "runs/fraud-1/.run.json.x",
    }  # fmt: skip
    assert {f"tables/{part}" for part in loose_parts} <= names(root, freed)
    assert all(item.bytes > 0 for item in freed)
    for whole in (history, deployed, aside):
        assert tables.load(whole).num_rows == 50
    assert [Bundle.load(one.uri).digest for one in bundles[:2]] == [one.digest for one in bundles[:2]]
    assert table(root, 3).snapshot == loose.snapshot and tables.load(table(root, 3)).num_rows == 50
    assert current.snapshot != loose.snapshot
    assert not files.exists(f"{root}/{sweeping.MARK}")


def test_a_collection_that_was_killed_anywhere_leaves_what_is_referred_to(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    for stop in range(12):
        history, loose = table(root, 1), table(root, 100 + stop)
        recorded(root, "fraud-1", {"clean": artifact(root, "clean", "kept", **_told(history))})
        artifact(root, "clean", f"loose-{stop}", **_told(loose))
        table(root, 500)  # the newest
        before = collection.datetime.now(collection.UTC)
        for place, (_, free) in enumerate(collection._garbage(root, before, print)):
            if place == stop:
                break
            free()
        assert tables.load(history).num_rows == 50
        assert tables.load(table(root, 100 + stop)).num_rows == 50  # made again, not found half there
    collected(root, NOW, dry_run=False)
    assert tables.load(history).num_rows == 50


def _told(made: Table) -> dict[str, Any]:
    return made.model_dump(mode="json", include={"metadata", "iceberg_snapshot"})


def test_nothing_is_freed_while_a_run_is_under_way(tmp_path: Path) -> None:
    root = str(tmp_path)
    artifact(root, "clean", "loose")
    recorded(root, "fraud-1", {}, status="running")
    with pytest.raises(StorageError, match="run fraud-1 is under way"):
        collected(root, timedelta(hours=1), dry_run=False)
    (tmp_path / "runs" / "fraud-1" / "run.json").unlink()  # it has only begun
    with pytest.raises(StorageError, match="run fraud-1 is under way"):
        collected(root, timedelta(hours=1), dry_run=False)
    assert names(root, collected(root, NOW, dry_run=False)) == {"artifacts/clean/loose"}


def test_no_run_begins_and_no_other_collection_while_one_works(tmp_path: Path) -> None:
    root = str(tmp_path)
    with sweeping.marked(root):
        for begin in (
            lambda: runs.open_run(recipes.fraud(), "fraud", root),
            lambda: collected(root, NOW, dry_run=False),
        ):
            with pytest.raises(StorageError, match="`ray-mlops gc` is at work"):
                begin()
        assert files.listing(f"{root}/runs") == []
    ahead = datetime.now(UTC) + sweeping._LASTS + timedelta(seconds=90)  # by the clock of another machine
    (tmp_path / sweeping.MARK).write_text(json.dumps({"host": "h", "pid": 1, "until": ahead.isoformat()}))
    with pytest.raises(StorageError, match="`ray-mlops gc` is at work"):
        runs.open_run(recipes.fraud(), "fraud", root)
    for until in ("2026-01-01", "2126-01-01"):  # killed long ago, or before the clock was put back
        mark = {"host": "h", "pid": 1, "until": f"{until}T00:00:00+00:00"}
        (tmp_path / sweeping.MARK).write_text(json.dumps(mark))
        runs.open_run(recipes.fraud(), "fraud", root)


def test_bundles_without_a_registry_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = str(tmp_path / "root")
    bundle(root, tmp_path, 1, table(root, 1))
    with pytest.raises(StorageError, match="Set MLFLOW_TRACKING_URI"):
        collected(root, NOW, dry_run=False)


def test_what_a_deleted_run_and_version_leave_is_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = str(tmp_path / "root")
    made = bundle(root, tmp_path, 1, table(root, 1))
    registry = Registry(default_uri(root))
    registry.register("small", made)
    registry.reject("small", "1")
    recorded(root, "fraud-1", {"register": artifact(root, "register", "f", bundle=made.uri)})
    assert made.uri not in {item.uri for item in collected(root, NOW, dry_run=True)}
    commands.delete(root, "fraud-1")
    collected(root, NOW, dry_run=False)
    assert Path(made.uri).exists()
    commands.delete(root, "small/1")
    collected(root, NOW, dry_run=False)
    assert not Path(made.uri).exists() and not Path(root, "artifacts", "register", "f").exists()
