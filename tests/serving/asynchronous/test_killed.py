"""Replicas on Serve that are killed with -9 while they work what was asked for later: every request ends, exactly once."""

import csv
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config

from ray_mlops.platform.runtime import free_port
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.replica import Settings
from tests.serving.processes import replicas, wait
from tests.serving.protocols import served
from tests.serving.protocols.questions import COLUMNS
from tests.small_model import bundle

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(400)]
LATER = Asynchronous(lease_s=2.0, poll_s=0.2, max_attempts=3, rows_at_once=1)
MANY = 20_000  # takes seconds, one row at a time


class Deployed:
    """The endpoint `later`, its queue, and who works."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url, self.queue = root, url, root / "async" / "later"

    def submit(self, rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
        stream = io.StringIO()
        csv.writer(stream).writerows([row.get(column, "") for column in COLUMNS] for row in rows)
        source = self.queue / "inputs" / f"{name}.csv"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(stream.getvalue())
        settings = Config(retries={"max_attempts": 10})
        same = {"region_name": "eu-central-1", "aws_access_key_id": "none", "aws_secret_access_key": "none"}
        client = boto3.client("sagemaker-runtime", endpoint_url=self.url, config=settings, **same)
        return client.invoke_endpoint_async(
            EndpointName="later", InputLocation=str(source), InferenceId=name, ContentType="text/csv", Accept="text/csv"
        )

    def working(self, name: str, attempt: int) -> int:
        """The process that works a request, once it does."""
        lease = self.queue / "leases" / f"{name}~{attempt}"
        wait(lease.exists)
        return int(json.loads(lease.read_text())["replica"].rpartition(":")[2])


def rows(number: int) -> list[dict[str, Any]]:
    return [{**served.ROWS[0], "transaction_id": place, "amount": float(place % 900)} for place in range(number)]


@pytest.fixture(scope="module")
def deployed(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    root = tmp_path_factory.mktemp("later")
    made = bundle(root, definition=served.DEFINITION)
    settings = Settings(
        name="later",
        bundle=made.uri,
        digest=made.digest,
        version="1",
        store="",
        capture=f"{root}/capture",
        queue=endpoints.queue_folder(str(root), "later"),
        asynchronous=LATER,
        limits=Limits(),
    )
    yield Deployed(root, endpoints.start(settings, Scale(min_replicas=2, max_replicas=2), port=free_port()))
    endpoints.undeploy("later")


def test_a_replica_killed_at_work_leaves_its_request_to_another_and_there_is_one_result(deployed: Deployed) -> None:
    taken = deployed.submit(rows(MANY), "large")
    killed = deployed.working("large", 1)
    others = [deployed.submit(rows(3 + number), f"small-{number}") for number in range(3)]
    os.kill(killed, signal.SIGKILL)
    assert deployed.working("large", 2) != killed
    for number, other in enumerate(others):
        wait(Path(other["OutputLocation"]).exists)
        assert len(Path(other["OutputLocation"]).read_text().splitlines()) == 3 + number
    wait(Path(taken["OutputLocation"]).exists)
    lines = list(csv.reader(Path(taken["OutputLocation"]).read_text().splitlines()))
    assert [int(line[0]) for line in lines] == list(range(MANY))
    assert sorted(path.name for path in (deployed.queue / "outcomes").iterdir()) == [
        "large",
        *(f"small-{n}" for n in range(3)),
    ]
    assert not (deployed.queue / "failures").exists() and not list((deployed.queue / "requests").iterdir())
    state = httpx.get(f"{deployed.url}/async/large").json()
    assert (state["state"], state["attempts"]) == ("done", 2)


def test_what_is_unfinished_when_all_replicas_die_is_taken_up_by_those_that_start(deployed: Deployed) -> None:
    wait(lambda: len(replicas("later")) == 2)
    taken = deployed.submit(rows(MANY), "again")
    deployed.working("again", 1)
    for process in replicas("later"):
        os.kill(process, signal.SIGKILL)
    wait(Path(taken["OutputLocation"]).exists)
    assert len(Path(taken["OutputLocation"]).read_text().splitlines()) == MANY


def test_a_request_at_which_every_replica_dies_has_failed_and_says_so(deployed: Deployed) -> None:
    wait(lambda: len(replicas("later")) == 2)
    taken = deployed.submit(rows(MANY), "deadly")
    for attempt in (1, 2, 3):
        os.kill(deployed.working("deadly", attempt), signal.SIGKILL)
    wait(Path(taken["FailureLocation"]).exists)
    told = json.loads(Path(taken["FailureLocation"]).read_text())
    assert told["attempts"] == 3 and "given up after 3 attempts: replica" in told["reason"]
    assert not Path(taken["OutputLocation"]).exists()
    answer = httpx.get(f"{deployed.url}/async/deadly/result")
    assert answer.status_code == 424 and "given up" in answer.text
