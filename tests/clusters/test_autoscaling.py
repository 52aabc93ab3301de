"""Nodes come for what a job of ours and an endpoint of ours have to do, and go when they are idle, by Ray's own autoscaler."""

import json
import os
import shlex
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ray_mlops.clusters import checkup, exporting, submitting
from ray_mlops.commands import administration
from ray_mlops.platform import registry, room, runtime
from tests import lifecycle, priorities
from tests.clusters.autoscaled import MARK, Autoscaled, autoscaled
from tests.faults.steady import Steady, rows
from tests.recipes.tiny import SMALL
from tests.small_model import bundle

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
JOB = Path(__file__).resolve().parents[2] / "jobs" / "fraud.py"
MOST = 2
RATE = 40
SCALE = (
    "min_replicas=1",
    "max_replicas=2",
    "cpus=1",
    "target_ongoing=0.05",
    "look_back_s=2",
    "upscale_delay_s=0",
    "downscale_delay_s=2",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Autoscaled]:
    with pytest.MonkeyPatch.context() as patch, autoscaled(MOST) as made:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield made


def test_what_may_be_started_counts_as_room_and_nothing_else_does(cluster: Autoscaled) -> None:
    here, later = room.capacity(cluster.address)
    assert [kind.resources.get("CPU", 0) for kind in here] == [0]
    assert later == [
        room.Kind("worker", MOST, {"CPU": 1, "object_store_memory": later[0].resources["object_store_memory"]})
    ]
    fits, too_large = ({"what": "train.workers", "count": 2, "resources": {"CPU": cpus}} for cpus in (1.0, 2.0))
    assert "the autoscaler can make room" in checkup.demanded(fits, here, later)["found"]
    assert "there is room for 0 of 2 x 2 CPU" in checkup.demanded(too_large, here, later)["found"]


def test_nodes_come_for_a_job_and_go_after_it(cluster: Autoscaled, tmp_path: Path) -> None:
    settings = [word for setting in SMALL for word in ("-s", setting)]
    words = [sys.executable, str(JOB), "--root", str(tmp_path), "--to", "tune", *settings]
    with submitting.client(cluster.dashboard) as jobs:
        name, most = jobs.submit_job(entrypoint=shlex.join(words)), 0
        while not jobs.get_job_status(name).is_terminal():
            most = max(most, cluster.nodes())
            time.sleep(0.2)
        assert jobs.get_job_info(name).driver_exit_code == 0, jobs.get_job_logs(name)
    assert lifecycle.newest_run(tmp_path)["status"] == "done"
    assert 1 <= most <= MOST, "each of the two trials asks for a node"
    cluster.until(range(1), "the nodes do not go after the job")


def test_a_node_comes_for_a_replica_under_load_and_goes_without_a_failed_request(
    cluster: Autoscaled, tmp_path: Path
) -> None:
    url = deploy(cluster, tmp_path)
    assert cluster.nodes() == 1, "the first replica has a node"
    if os.geteuid() == 0:  # only root may raise a priority
        serving = ("ray::ServeReplica", "ray::ServeController", "ray::ProxyActor")
        assert priorities.behind(f"{MARK}={cluster.folder}", *serving) == {}
    with Steady(f"{url}/score?reasons=0", rows(), rate=RATE, first_id=10_000_000) as caller:
        cluster.until(range(2, 3), "no node comes for a second replica")
        until(lambda: replicas(cluster) == 2, "there is no second replica")
        seen = caller.seen()
    assert seen.sent > 0 and seen.failed == []
    cluster.until(range(1, 2), "the node of the second replica does not go")
    undeploy(cluster)
    cluster.until(range(1), "the node of the first replica does not go")


def deploy(cluster: Autoscaled, root: Path) -> str:
    """Bring a model to an endpoint as its manifest does; its URL."""
    port = runtime.free_port()
    registry.open_registry(administration(str(root))).register("fraud", bundle(root))
    fields = [f"port={port}", "parity_rows=0", *(f"scale.{field}" for field in SCALE)]
    config = yaml.safe_load(exporting.export(str(root), "serve", "fraud@challenger", fields))
    apply(cluster, {**config, "proxy_location": "HeadOnly"})  # the nodes are of one machine, which has one such port
    until(lambda: replicas(cluster) == 1, "the endpoint does not run")
    return f"http://127.0.0.1:{port}/fraud"


def undeploy(cluster: Autoscaled) -> None:
    """Take every endpoint away."""
    apply(cluster, {"applications": []})


def apply(cluster: Autoscaled, config: dict[str, Any]) -> None:
    request = urllib.request.Request(f"{cluster.dashboard}/api/serve/applications/", method="PUT")
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, json.dumps(config).encode(), timeout=60) as answer:
        assert answer.status == 200


def replicas(cluster: Autoscaled) -> int:
    """How many replicas of the endpoint answer."""
    with urllib.request.urlopen(f"{cluster.dashboard}/api/serve/applications/", timeout=60) as answer:
        found = json.load(answer)["applications"].get("fraud", {}).get("deployments", {})
    return sum(one["state"] == "RUNNING" for each in found.values() for one in each["replicas"])


def until(true: Callable[[], bool], what: str, limit_s: float = 180) -> None:
    """Wait until something is so, but not for ever."""
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.2)
