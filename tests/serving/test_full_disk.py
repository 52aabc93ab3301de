"""A disk that is full where the log and the counts are: requests are answered, and monitoring says so."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_mlops.contract import Endpoint, ModelVersion, Run
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.online import open_store
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.scoring import Scorer
from ray_mlops.serving.watching import Watcher
from ray_mlops.stages import monitor
from ray_mlops.stages.monitor import MonitorConfig
from tests.serving.test_app import GOOD, post
from tests.small_model import bundle


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    root = tmp_path / "disk"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(root)], check=True)
    yield root
    subprocess.run(["umount", "--lazy", str(root)], check=True)


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def test_traffic_goes_on_and_the_alarm_says_so(disk: Path, tmp_path: Path):
    made = bundle(tmp_path)
    predictor = Predictor.load(made)
    capture = Capture(str(disk / "capture"), "v1")
    watcher = Watcher(str(disk / "monitoring"), "r1", capture=capture.counts)
    watch = watcher.watch(made, predictor.definition.names)
    store = open_store(f"sqlite:///{tmp_path}/entities.db", predictor.definition)
    scorer = Scorer(predictor, store, capture, version="1", digest=made.digest, watch=watch)
    version = ModelVersion(uri=made.uri, fingerprint="f", name="fraud", version="1", digest=made.digest)
    place = {"capture": str(disk / "capture"), "monitoring": str(disk / "monitoring")}
    endpoint = Endpoint(uri="", fingerprint="f", name="fraud", url="", version="1", digest=made.digest, **place)
    run = Run(root=str(tmp_path), id="r", recipe="fraud", uri=str(tmp_path / "verdict"), fingerprint="m")

    fill(disk / "ballast")
    answers = post(scorer, [{**GOOD, "transaction_id": 10_000 + number} for number in range(60)])
    assert {answer.status_code for answer in answers} == {200}
    watcher.flush()
    assert "No space left" in watcher.failing
    verdict = monitor.run(MonitorConfig(), run, endpoint=endpoint, version=version)
    assert verdict.status == "alarm"
    (alarm,) = verdict.alarms
    assert "cannot write what it counts" in alarm and "No space left" in alarm

    (disk / "ballast").unlink()
    post(scorer, [{**GOOD, "transaction_id": 20_000}])
    watcher.close()
    verdict = monitor.run(MonitorConfig(), run, endpoint=endpoint, version=version)
    assert verdict.requests == 61 and verdict.status == "alarm"
    (alarm,) = verdict.alarms
    assert "operation: capture log" in alarm and "lines are lost" in alarm
    capture.close()
