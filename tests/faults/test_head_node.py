"""The head node is lost, with the cluster's memory in Redis: endpoints answer on, and jobs are reported as they are."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ray_mlops.clusters import exporting, submitting
from ray_mlops.commands import administration
from ray_mlops.platform import registry
from tests.benchmarks.redis_server import redis_server
from tests.faults.namespaces import ROOT, Fleet, fleet, missing, network, until
from tests.faults.steady import Steady, rows
from tests.small_model import bundle

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
PORT, RATE = 8000, 20
FOLLOW = """
import sys
from ray_mlops.clusters import submitting

with submitting.client(sys.argv[1]) as jobs:
    raise SystemExit(submitting.follow(jobs, sys.argv[2]))
"""
LONG = "import time; print('begun', flush=True); time.sleep(600)"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A head and two workers whose head keeps what it knows in Redis."""
    if reason := missing():
        pytest.skip(f"no cluster of nodes that have addresses of their own: {reason}")
    with network() as joined, redis_server(tmp_path_factory.mktemp("redis"), joined.address) as url:
        kept = {"RAY_REDIS_ADDRESS": url.split("/")[2], "RAY_external_storage_namespace": joined.mark}
        with fleet(joined, 2, settings=kept) as made, pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_AUTH_MODE", "disabled")
            yield made


def deploy(nodes: Fleet, root: Path) -> None:
    """Bring a model to an endpoint with two replicas, as its manifest does; again changes nothing."""
    known = registry.open_registry(administration(str(root)))
    if not (root / "source").exists():
        known.register("fraud", bundle(root))
    fields = [f"port={PORT}", "parity_rows=0", "scale.min_replicas=2", "scale.max_replicas=2"]
    config = yaml.safe_load(exporting.export(str(root), "serve", "fraud@challenger", fields))
    request = urllib.request.Request(f"{nodes.dashboard}/api/serve/applications/", method="PUT")
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, json.dumps(config).encode(), timeout=60) as answer:
        assert answer.status == 200
    until(lambda: status(nodes) == "RUNNING", "the endpoint does not run")


def status(nodes: Fleet) -> str:
    """What the head says of the endpoint; empty when it does not answer."""
    try:
        with urllib.request.urlopen(f"{nodes.dashboard}/api/serve/applications/", timeout=5) as answer:
            return json.load(answer)["applications"]["fraud"]["status"]
    except (OSError, KeyError):
        return ""


def job(jobs: Any, code: str) -> str:
    """Submit a line of Python."""
    return jobs.submit_job(entrypoint=f'python -c "{code}"')


def follow(nodes: Fleet, name: str) -> "subprocess.Popen[str]":
    """Follow a job from another machine, as `ray-mlops submit` does."""
    return subprocess.Popen(
        [sys.executable, "-c", FOLLOW, nodes.dashboard, name],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_lost_head_node_comes_back_and_nothing_was_answered_wrongly(nodes: Fleet, tmp_path: Path) -> None:
    deploy(nodes, tmp_path)
    with submitting.client(nodes.dashboard) as jobs:
        done, failed, running = job(jobs, "print(1)"), job(jobs, "raise SystemExit(3)"), job(jobs, LONG)
        until(lambda: jobs.get_job_status(done) == "SUCCEEDED", "the job does not end")
        until(lambda: jobs.get_job_status(failed) == "FAILED", "the job does not fail")
        until(lambda: "begun" in jobs.get_job_logs(running), "the job does not begin")
    following = follow(nodes, running)
    assert following.stdout and any("begun" in line for line in following.stdout)
    ask = f"http://127.0.0.1:{PORT}/fraud/score?reasons=0"
    within = nodes.workers[0].inside([])
    with Steady(ask, rows(), rate=RATE, first_id=10_000_000, within=within) as caller:
        time.sleep(1)
        before = caller.seen()
        nodes.head.kill()
        time.sleep(5)
        without = caller.seen()
        nodes.start_head()
        nodes.wait(2)
        until(lambda: status(nodes) == "RUNNING", "the endpoint is not known any more")
        returning = caller.seen()
        deploy(nodes, tmp_path)
        time.sleep(2)
        after = caller.seen()
    for what, seen in {"before": before, "without": without, "returning": returning, "after": after}.items():
        print(f"{what:10} {seen.sent:5} sent {len(seen.failed):4} failed, slowest {seen.slowest_s:.2f} s")
    assert [seen.failed for seen in (before, without, returning, after)] == [[], [], [], []]
    with submitting.client(nodes.dashboard) as jobs:
        assert jobs.get_job_status(done) == "SUCCEEDED"
        assert jobs.get_job_info(failed).driver_exit_code == 3
    try:
        told, _ = following.communicate(timeout=60)
    finally:
        following.kill()
    assert following.returncode == 1 and f"job {running} failed: the node that ran it is gone" in told, told
    with submitting.client(nodes.dashboard) as jobs:
        another = job(jobs, "print(2)")  # whereupon Ray looks after those that it thought running
        until(lambda: jobs.get_job_status(another) == "SUCCEEDED", "the cluster takes no jobs any more")
        until(lambda: jobs.get_job_status(running) == "FAILED", "a job whose driver is gone is said to run")
