"""Replicas that are killed and stores that are lost, behind a live endpoint: nothing that was acknowledged is gone."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ray_mlops.contract import Endpoint, ModelVersion, Run
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving.endpoint import Scale
from ray_mlops.stages import deploy, register
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.stages.register import RegisterConfig
from tests.online.conftest import empty_redis
from tests.small_model import example, study, transactions

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(400)]
ROWS = 1_000
GOOD = {**example(transactions(ROWS)), "time": "2026-01-31T12:00:00Z"}
COUNT, RATE = "customer_id_count_7d", "terminal_id_mean_is_fraud_7d"


class Deployed:
    """An endpoint with a store of one kind, and what its tests do to it."""

    def __init__(self, root: Path, kind: str, url: str) -> None:
        self.run = Run(root=str(root), id="r", recipe="small", uri=str(root / "artifact"), fingerprint="f")
        self.kind, self.store = kind, url
        self.version: ModelVersion = register.run(RegisterConfig(name=f"{kind}{os.getpid()}"), self.run, **study(root))
        self.config = DeployConfig(port=free_port(), store=url, scale=Scale(max_replicas=1))
        self.endpoint = self.deploy()

    def deploy(self) -> Endpoint:
        return deploy.run(self.config, self.run, version=self.version)

    def lose_the_store(self) -> None:
        if self.kind == "redis":
            empty_redis(self.store)
        else:
            deploy.undeploy(self.endpoint.name)
            for path in Path(self.store.removeprefix("sqlite:///")).parent.glob("entities.db*"):
                path.unlink()

    def post(self, path: str, content: Any) -> httpx.Response:
        return httpx.post(f"{self.endpoint.url}/{path}", json=content, timeout=30)

    def insist(self, content: Any) -> dict[str, Any]:
        """Send a transaction, as a caller does, until it is answered."""
        for _ in range(300):
            try:
                answer = self.post("score", content)
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                return answer.json()
            assert answer.status_code >= 500, answer.text
            time.sleep(0.2)
        pytest.fail("the endpoint did not come back")

    def stats(self) -> dict[str, int]:
        return httpx.get(f"{self.endpoint.url}/stats", timeout=30).json()

    def replica(self) -> int:
        """The process that answers."""
        title = f"ray::ServeReplica:{self.endpoint.name}:Replica".encode()
        found = [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if title in _read(path)]
        assert len(found) == 1
        return int(found[0])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended meanwhile
        return b""


@pytest.fixture(params=["sqlite", "redis"])
def deployed(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Deployed]:
    url = f"sqlite:///{tmp_path}/entities.db" if request.param == "sqlite" else empty_redis(redis_url)
    made = Deployed(tmp_path, request.param, url)
    yield made
    deploy.undeploy(made.endpoint.name)


def test_a_killed_replica_loses_no_event_that_was_acknowledged(deployed: Deployed) -> None:
    sent = [{**GOOD, "transaction_id": 10_000 + number} for number in range(60)]
    before = deployed.stats()["records"]
    answers = [deployed.post("score", each).json() for each in sent[:30]]
    os.kill(deployed.replica(), signal.SIGKILL)
    answers += [deployed.insist(each) for each in sent[30:]]
    assert deployed.stats()["records"] == before + len(sent)
    again = [deployed.insist(each) for each in sent]
    kept = ("id", "score", "probability", "decision", "reasons")
    assert [[each[name] for name in kept] for each in again] == [[each[name] for name in kept] for each in answers]
    assert deployed.stats()["records"] == before + len(sent)


def test_a_lost_store_is_filled_again_from_the_history_and_the_capture_log(deployed: Deployed) -> None:
    sent = [{**GOOD, "transaction_id": 20_000 + number} for number in range(10)]
    for each in sent:
        assert deployed.post("score", each).status_code == 200
    labels = [{"transaction_id": each["transaction_id"], "is_fraud": 1} for each in sent[:4]]
    assert deployed.post("labels", {"labels": labels}).json()["waiting"] == []
    whole = deployed.stats()
    probe = {**GOOD, "time": "2026-02-07T18:00:00Z"}
    assert deployed.post("score", {**probe, "transaction_id": 30_000}).status_code == 200
    deployed.lose_the_store()
    assert deployed.deploy() == deployed.endpoint
    restored = deployed.stats()
    assert restored["records"] == whole["records"] + 1 and restored["labels"] == whole["labels"]
    assert deployed.post("score", {**probe, "transaction_id": 30_001}).status_code == 200
    first, second = (features(deployed.endpoint, id) for id in (30_000, 30_001))
    assert second[COUNT] == first[COUNT] + 1  # the first probe itself
    assert second[RATE] == first[RATE] > 0


def features(endpoint: Endpoint, id: int) -> dict[str, float]:
    """The features with which a transaction was scored first."""
    files = Path(endpoint.capture).glob("*.jsonl")
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return next(line["features"] for line in lines if line["id"] == id)
