import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ray_mlops.contract import Endpoint, ModelVersion, Run
from ray_mlops.errors import StorageError
from ray_mlops.monitoring.cause_files import CauseFiles
from ray_mlops.platform import segments
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.rollouts.plan import Plan
from ray_mlops.serving.rollouts.records import Records, Rollout, Side
from ray_mlops.stages import monitor
from ray_mlops.stages.monitor import MonitorConfig
from tests.monitoring.watched import DIGEST, baseline, in_alarm, leave, window

KNOWN = baseline()


@pytest.fixture
def version(tmp_path: Path) -> ModelVersion:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "baseline.json").write_text(KNOWN.model_dump_json())
    return ModelVersion(uri=str(bundle), fingerprint="f", name="fraud", version="1", digest=DIGEST)


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    folder = str(tmp_path / "monitoring")
    return Endpoint(
        uri="", fingerprint="f", name="fraud", url="", version="1", digest=DIGEST, capture="", monitoring=folder
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(root=str(tmp_path), id="r", recipe="fraud", uri=str(tmp_path / "monitor"), fingerprint="m")


def judged(run: Run, endpoint: Endpoint, version: ModelVersion, config: MonitorConfig | None = None):
    verdict = monitor.run(config or MonitorConfig(), run, endpoint=endpoint, version=version)
    told = json.loads(Path(run.uri, "monitor.json").read_text())
    assert Path(verdict.report).read_text().startswith("<!doctype html>")
    assert told["status"] == verdict.status and tuple(told["alarms"]) == verdict.alarms
    return verdict, told


def this_minute() -> int:
    return int(time.time()) // 60 * 60


def test_the_same_traffic_is_no_drift(run, endpoint, version):
    leave(endpoint.monitoring, window(KNOWN, this_minute(), 600))
    verdict, told = judged(run, endpoint, version)
    assert (verdict.status, verdict.requests, verdict.alarms) == ("ok", 600, ())
    assert {row["monitor"] for row in told["readings"]} == {"data quality", "data drift", "bias drift"}


def test_shifted_traffic_is_drift_and_says_of_what(run, endpoint, version):
    leave(endpoint.monitoring, window(KNOWN, this_minute(), 600, scale=4.0))
    verdict, _ = judged(run, endpoint, version)
    assert verdict.status == "alarm" and all("amount" in alarm for alarm in verdict.alarms)


def test_few_requests_are_no_verdict(run, endpoint, version):
    assert judged(run, endpoint, version)[0].status == "insufficient_data"
    leave(endpoint.monitoring, window(KNOWN, this_minute(), 199, scale=100.0))
    verdict, _ = judged(run, endpoint, version)
    assert (verdict.status, verdict.requests, verdict.alarms) == ("insufficient_data", 199, ())


def test_windows_that_are_over_are_judged_for_good(run, endpoint, version):
    leave(endpoint.monitoring, *(window(KNOWN, 60 * number, 300) for number in range(10)))
    leave(endpoint.monitoring, window(KNOWN, this_minute(), 50))
    verdict, told = judged(run, endpoint, version)
    assert (verdict.requests, told["replay"]) == (3_050, {"windows": 2, "fired": 0})
    assert [one["requests"] for one in told["windows"]] == [1_500, 1_500, 50]
    again, told = judged(run, endpoint, version)
    assert again.requests == 3_050 and len(told["windows"]) == 3


def test_new_requests_change_the_identity_and_judging_does_not(run, endpoint, version):
    names = [monitor.identity(endpoint)]
    for number in range(7):
        leave(endpoint.monitoring, window(KNOWN, 60 * number, 300))
        names.append(monitor.identity(endpoint))
    assert len(set(names)) == 8
    judged(run, endpoint, version)
    assert monitor.identity(endpoint) == names[-1]


def test_a_bundle_without_a_baseline_is_named(run, endpoint, version, tmp_path):
    with pytest.raises(StorageError, match=r"baseline\.json"):
        monitor.run(MonitorConfig(), run, endpoint=endpoint, version=version.model_copy(update={"uri": str(tmp_path)}))


def test_the_same_traffic_gives_the_same_files(run, endpoint, version, tmp_path):
    leave(endpoint.monitoring, window(KNOWN, this_minute(), 300))
    again = replace(run, uri=str(tmp_path / "again"))
    judged(run, endpoint, version)
    judged(again, endpoint, version)
    for name in ("monitor.json", "report.html"):
        assert Path(run.uri, name).read_bytes() == Path(again.uri, name).read_bytes()


@pytest.fixture
def logging(endpoint: Endpoint, tmp_path: Path) -> Endpoint:
    """An endpoint with a log whose first segment was written the day before yesterday."""
    place, old = tmp_path / "capture", time.time() - 2 * 86_400
    for number in range(2):
        log = Capture(str(place), "v1")
        log.write([{"id": number, "time": "2024-01-01T00:00:00Z", "score": 0.5, "digest": DIGEST}])
        log.close()
        if not number:
            (first,) = place.glob("*.jsonl")
            os.utime(first, (old, old))
    return endpoint.model_copy(update={"capture": str(place)})


def test_what_is_closed_is_compacted_and_the_verdict_is_the_same(run, logging, version):
    leave(logging.monitoring, window(KNOWN, this_minute(), 600))
    lines = sorted(line for _, line in segments.lines(logging.capture))
    _, before = judged(run, logging, version, MonitorConfig(compact=False))
    identity = monitor.identity(logging)
    _, told = judged(run, logging, version)
    assert sorted(path.suffix for path in Path(logging.capture).iterdir()) == [".jsonl", ".parquet"]
    assert sorted(line for _, line in segments.lines(logging.capture)) == lines and len(lines) == 2
    assert before["settings"].pop("compact") is False and told["settings"].pop("compact") is True
    assert told == before and monitor.identity(logging) == identity and told["not_compacted"] == ""


def test_a_log_that_cannot_be_compacted_is_judged_all_the_same_and_that_is_said(run, logging, version):
    leave(logging.monitoring, window(KNOWN, this_minute(), 600))
    (Path(logging.capture) / ".compacting-x").mkdir()
    verdict, told = judged(run, logging, version)
    assert verdict.requests == 600 and "cannot compact" in told["not_compacted"]
    assert "Not compacted" in Path(verdict.report).read_text()


def test_an_alarm_leaves_a_report_of_its_cause(run, endpoint, version):
    leave(endpoint.monitoring, *(window(KNOWN, 60 * number, 300, scale=4.0) for number in range(5)))
    verdict, told = judged(run, endpoint, version)
    (kept,) = CauseFiles(endpoint.monitoring, DIGEST).all()
    assert verdict.action == kept.action == "keep" and told["cause"] == json.loads(kept.model_dump_json())
    assert kept.id in Path(verdict.report).read_text()
    again, _ = judged(run, endpoint, version)
    assert again.action == "keep" and CauseFiles(endpoint.monitoring, DIGEST).all() == [kept]


def test_what_has_not_been_judged_is_explained_and_not_kept(run, endpoint, version):
    leave(endpoint.monitoring, window(KNOWN, this_minute(), 600, scale=4.0))
    _, told = judged(run, endpoint, version)
    assert told["cause"]["id"].endswith("-provisional") and not CauseFiles(endpoint.monitoring, DIGEST).all()


@pytest.mark.parametrize("alarmed", [False, True])
def test_a_break_right_after_a_rollout_calls_for_the_version_before(run, endpoint, version, alarmed):
    sides = Side(model="fraud", version="0", digest="e" * 64), Side(model="fraud", version="1", digest=DIGEST)
    rollout = Rollout.begin("fraud", *sides, Plan(mode="canary", shares=(0.1,)))
    Records(run.root, "fraud").write(rollout.then("promoted"))
    if alarmed:
        in_alarm(endpoint.monitoring, version.model_copy(update={"digest": "e" * 64}), "keep")
    for number in range(5, 10):
        made = window(KNOWN, this_minute() - 60 * number, 300)
        refused = [*made.counts[:2], 100, *made.counts[3:]]
        leave(endpoint.monitoring, made.model_copy(update={"counts": refused}))
    verdict, told = judged(run, endpoint, version)
    assert verdict.action == ("keep" if alarmed else "roll back")
    assert "version 0" in told["cause"]["reasons"][0]
    assert told["cause"]["causes"][0]["key"] == "data quality: requests refused"
