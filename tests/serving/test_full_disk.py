"""A disk that is full where the log and the counts are: requests are answered, and monitoring says so."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ray_mlops.contract import Endpoint, ModelVersion, Run, Verdict
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


@dataclass
class Asked:
    """An endpoint in this process, with its log and its counts in these folders, and the run that judges it."""

    capture: Capture
    watcher: Watcher
    scorer: Scorer
    run: Run
    endpoint: Endpoint
    version: ModelVersion

    @classmethod
    def of(cls, folder: Path, capture: Path, monitoring: Path) -> "Asked":
        made = bundle(folder)
        predictor = Predictor.load(made)
        log = Capture(str(capture), "v1")
        watcher = Watcher(str(monitoring), "r1", capture=log.counts)
        watch = watcher.watch(made, predictor.definition.names)
        store = open_store(f"sqlite:///{folder}/entities.db", predictor.definition)
        place = {"capture": str(capture), "monitoring": str(monitoring)}
        return cls(
            log,
            watcher,
            Scorer(predictor, store, log, version="1", digest=made.digest, watch=watch),
            Run(root=str(folder), id="r", recipe="fraud", uri=str(folder / "verdict"), fingerprint="m"),
            Endpoint(uri="", fingerprint="f", name="fraud", url="", version="1", digest=made.digest, **place),
            ModelVersion(uri=made.uri, fingerprint="f", name="fraud", version="1", digest=made.digest),
        )

    def score(self, first: int, count: int) -> None:
        answers = post(self.scorer, [{**GOOD, "transaction_id": first + number} for number in range(count)])
        assert {answer.status_code for answer in answers} == {200}

    def verdict(self) -> Verdict:
        return monitor.run(MonitorConfig(), self.run, endpoint=self.endpoint, version=self.version)


def test_traffic_goes_on_and_the_alarm_says_so(disk: Path, tmp_path: Path):
    asked = Asked.of(tmp_path, disk / "capture", disk / "monitoring")
    fill(disk / "ballast")
    asked.score(10_000, 60)
    asked.watcher.flush()
    assert "No space left" in asked.watcher.failing
    verdict = asked.verdict()
    assert verdict.status == "alarm"
    (alarm,) = verdict.alarms
    assert "cannot write what it counts" in alarm and "No space left" in alarm

    (disk / "ballast").unlink()
    asked.score(20_000, 1)
    asked.watcher.close()
    verdict = asked.verdict()
    assert verdict.requests == 61 and verdict.status == "alarm"
    (alarm,) = verdict.alarms
    assert "operation: capture log" in alarm and "lines are lost" in alarm
    asked.capture.close()


def test_where_only_the_log_has_no_room_its_loss_is_an_alarm_at_once(disk: Path, tmp_path: Path):
    asked = Asked.of(tmp_path, disk / "capture", tmp_path / "monitoring")
    fill(disk / "ballast")
    asked.score(10_000, 60)
    asked.watcher.flush()
    verdict = asked.verdict()
    assert (verdict.requests, verdict.status) == (60, "alarm") and not asked.watcher.failing
    (alarm,) = verdict.alarms
    assert "operation: capture log" in alarm and "lines are lost" in alarm
    asked.watcher.close()
    asked.capture.close()
