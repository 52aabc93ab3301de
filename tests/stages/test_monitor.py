import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ray_mlops.contract import Endpoint, ModelVersion, Run
from ray_mlops.errors import StorageError
from ray_mlops.monitoring.sketches import Baseline
from ray_mlops.serving.capture import Capture
from ray_mlops.stages import monitor
from ray_mlops.stages.monitor import MonitorConfig

NAMES = ("amount", "count")


def rows(random: np.random.Generator, size: int, scale: float = 1.0) -> np.ndarray:
    return np.column_stack([random.lognormal(3, 1, size) * scale, random.poisson(2, size)]).astype(np.float32)


@pytest.fixture
def version(tmp_path: Path) -> ModelVersion:
    random = np.random.default_rng(0)
    baseline = Baseline.of(NAMES, rows(random, 5_000), random.beta(0.2, 2, 5_000), decisions=["approve"] * 5_000)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "baseline.json").write_text(baseline.model_dump_json())
    return ModelVersion(uri=str(bundle), fingerprint="f", name="fraud", version="1", digest="d1")


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    capture = str(tmp_path / "capture")
    return Endpoint(uri="", fingerprint="f", name="fraud", url="", version="1", digest="d1", capture=capture)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(root=str(tmp_path), id="r", recipe="fraud", uri=str(tmp_path / "monitor"), fingerprint="m")


def capture(endpoint: Endpoint, size: int, scale: float = 1.0, digest: str = "d1", seed: int = 1) -> None:
    random = np.random.default_rng(seed)
    log = Capture(endpoint.capture, "v1")
    log.write(
        {
            "id": place, "time": f"2024-01-01T00:00:{place % 60:02d}Z",
            "features": dict(zip(NAMES, row.tolist(), strict=True)),
            "score": float(score), "decision": "approve", "version": "1", "digest": digest,
        }
        for place, (row, score) in enumerate(zip(rows(random, size, scale), random.beta(0.2, 2, size), strict=True))
    )  # fmt: skip
    log.close()


def judged(run: Run, endpoint: Endpoint, version: ModelVersion):
    verdict = monitor.run(MonitorConfig(), run, endpoint=endpoint, version=version)
    told = json.loads(Path(run.uri, "monitor.json").read_text())
    assert Path(verdict.report).read_text().startswith("<!doctype html>")
    assert told["status"] == verdict.status and tuple(told["alarms"]) == verdict.alarms
    return verdict, told


def test_the_same_traffic_is_no_drift(run, endpoint, version):
    capture(endpoint, 600)
    verdict, _ = judged(run, endpoint, version)
    assert (verdict.status, verdict.requests, verdict.alarms) == ("ok", 600, ())


def test_shifted_traffic_is_drift_and_says_of_what(run, endpoint, version):
    capture(endpoint, 600, scale=4.0)
    verdict, told = judged(run, endpoint, version)
    assert verdict.status == "drift" and len(verdict.alarms) == 1 and "amount" in verdict.alarms[0]
    assert told["shifts"][0]["name"] == "amount"


def test_few_requests_are_no_verdict(run, endpoint, version):
    assert judged(run, endpoint, version)[0].status == "insufficient_data"
    capture(endpoint, 199, scale=100.0)
    verdict, _ = judged(run, endpoint, version)
    assert (verdict.status, verdict.requests, verdict.alarms) == ("insufficient_data", 199, ())


def test_other_versions_and_torn_lines_are_told_but_not_judged(run, endpoint, version):
    capture(endpoint, 300)
    capture(endpoint, 500, scale=100.0, digest="d0")
    with next(Path(endpoint.capture).iterdir()).open("a") as log:
        log.write('{"id": 7, "features": {"amou')
    verdict, told = judged(run, endpoint, version)
    assert (verdict.status, verdict.requests) == ("ok", 300)
    assert (told["other_versions"], told["unreadable"]) == (500, 1)


def test_replicas_are_judged_together(run, endpoint, version):
    for seed in range(3):
        capture(endpoint, 100, seed=seed)
    assert judged(run, endpoint, version)[0].requests == 300


def test_new_requests_change_the_identity(endpoint):
    before = monitor.identity(endpoint)
    capture(endpoint, 1)
    assert monitor.identity(endpoint) != before


def test_a_bundle_without_a_baseline_is_named(run, endpoint, version, tmp_path):
    with pytest.raises(StorageError, match=r"baseline\.json"):
        monitor.run(MonitorConfig(), run, endpoint=endpoint, version=version.model_copy(update={"uri": str(tmp_path)}))


def test_the_same_traffic_gives_the_same_files(run, endpoint, version, tmp_path):
    capture(endpoint, 300)
    again = replace(run, uri=str(tmp_path / "again"))
    judged(run, endpoint, version)
    judged(again, endpoint, version)
    for name in ("monitor.json", "report.html"):
        assert Path(run.uri, name).read_bytes() == Path(again.uri, name).read_bytes()


def age(endpoint):
    """As if what there is had been written the day before yesterday."""
    for path in Path(endpoint.capture).glob("*.jsonl"):
        moment = path.stat().st_mtime - 2 * 86_400
        os.utime(path, (moment, moment))


def test_what_is_closed_is_compacted_and_the_verdict_is_the_same(run, endpoint, version):
    capture(endpoint, 300)
    with next(Path(endpoint.capture).iterdir()).open("a") as log:
        log.write('{"id": 7, "features": {"amou')
    age(endpoint)
    capture(endpoint, 200, seed=2)
    before, identity = (
        monitor.run(MonitorConfig(compact=False), run, endpoint=endpoint, version=version),
        monitor.identity(endpoint),
    )
    told_before = json.loads(Path(run.uri, "monitor.json").read_text())
    verdict, told = judged(run, endpoint, version)
    assert verdict == before and monitor.identity(endpoint) == identity
    assert {path.suffix for path in Path(endpoint.capture).iterdir()} == {".parquet", ".jsonl"}
    assert len(told.pop("files")) == 2 == len(told_before.pop("files")) and told == told_before
    assert (told["unreadable"], told["requests"], told["not_compacted"]) == (1, 500, "")


def test_a_log_that_cannot_be_compacted_is_judged_all_the_same_and_that_is_said(run, endpoint, version):
    capture(endpoint, 300)
    age(endpoint)
    (Path(endpoint.capture) / ".compacting-x").mkdir()
    verdict, told = judged(run, endpoint, version)
    assert verdict.requests == 300 and "cannot compact" in told["not_compacted"]
    assert "Not compacted" in Path(verdict.report).read_text()
