"""A run root that is full, read-only or shared by two commands at once: nothing is lost, nothing is there twice."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from ray_mlops.commands import administration
from ray_mlops.platform import files, registry
from tests import lifecycle
from tests.faults.rounds import ROUNDS

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(900)]
TO = ("--to", "register")
STEP_MB = 1 if ROUNDS else 6
LARGE_MB = 400


@pytest.fixture(scope="module")
def by_two(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root on which two commands ran the same recipe at once, both to their end."""
    root = tmp_path_factory.mktemp("shared")
    command = lifecycle.command("run", lifecycle.TINY, "--root", str(root), *TO)
    both = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=lifecycle.environment()
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    return root


def made(root: Path) -> dict[str, Any]:
    """What the newest run made, by content."""
    record = lifecycle.newest_run(root)
    assert record["status"] == "done"
    snapshots = {stage: lifecycle.artifact(record, stage)["snapshot"] for stage in ("ingest", "clean")}
    metrics = lifecycle.artifact(record, "evaluate")["metrics"]
    return {**snapshots, "metrics": metrics, "digest": lifecycle.artifact(record, "register")["digest"]}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A run root on a disk of its own, of one megabyte."""
    root = tmp_path / "disk"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk of a megabyte, which takes root: {mounted.stderr.strip()}")
    yield root
    subprocess.run(["umount", "--lazy", str(root)], check=True)


def remount(root: Path, *options: str) -> None:
    subprocess.run(["mount", "-o", ",".join(["remount", *options]), str(root)], check=True)


def test_a_disk_that_is_full_or_read_only_is_said_and_with_room_the_same_command_goes_on(
    disk: Path, by_two: Path
) -> None:
    undisturbed = made(by_two)
    stopped, size = [], 1
    while size < LARGE_MB:
        done = lifecycle.call("run", lifecycle.TINY, "--root", str(disk), *TO)
        if not done.returncode:
            break
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert "free space" in done.stderr or "No space left" in done.stderr or "disk is full" in done.stderr
        stopped.append(len(list(disk.rglob("manifest.json"))))
        size += STEP_MB
        remount(disk, f"size={size}m")
    assert len(stopped) >= 1 and stopped == sorted(stopped), "a stage that had been done was lost"
    assert made(disk) == undisturbed
    remount(disk, "ro")
    done = lifecycle.call("run", lifecycle.TINY, "--root", str(disk), "--from", "clean", *TO)
    assert done.returncode == 1 and "Read-only file system" in done.stderr and "Traceback" not in done.stderr
    remount(disk, "rw")
    assert made(disk) == undisturbed


def test_two_commands_at_once_on_one_root_make_one_model(by_two: Path) -> None:
    records = [json.loads(path.read_text()) for path in sorted(by_two.glob("runs/*/run.json"))]
    assert [record["status"] for record in records] == ["done", "done"]
    stages = [{entry["stage"]: entry["artifact"] for entry in record["stages"]} for record in records]
    assert stages[0] == stages[1]
    known = registry.open_registry(administration(str(by_two))).versions("tiny")
    assert [(version.version, version.digest) for version in known] == [("1", stages[0]["register"]["digest"])]


@pytest.mark.skipif(not ROUNDS, reason="takes a minute or two: RAY_MLOPS_FAULT_ROUNDS=1")
def test_two_commands_at_once_on_one_root_on_s3_make_every_stage_once(
    by_two: Path, s3_server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="shared")
    root = "s3://shared/mlops"
    own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    own["RAY_MLOPS_HOME"] = str(tmp_path / "home")  # MLflow and Ray, which they share, and the machines would
    homes = [tmp_path / "one", tmp_path / "other"]  # where the catalogs lie, which they do not share
    command = lifecycle.command("run", lifecycle.TINY, "--root", root, *TO)
    both = []
    for home in homes:
        home.mkdir()
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        both.append(subprocess.Popen(command, env={**own, "HOME": str(home)}, **pipes))
    told = [process.communicate(timeout=400) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    records = [files.read_json(f"{root}/runs/{run}/run.json") for run in files.listing(f"{root}/runs")]
    stages = [{entry["stage"]: entry for entry in record["stages"]} for record in records]
    assert all(sorted(each[stage]["status"] for each in stages) == ["done", "reused"] for stage in stages[0]), (
        "a stage was made twice"
    )
    artifacts = [{stage: entry["artifact"] for stage, entry in each.items()} for each in stages]
    assert artifacts[0] == artifacts[1]
    assert artifacts[0]["register"]["digest"] == made(by_two)["digest"]
