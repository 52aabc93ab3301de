"""The same recipe as a Ray job: submitted with Ray's own command, it gives the model the command line gives."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_mlops.platform.ray_settings import NODES
from ray_mlops.platform.runtime import free_port
from tests import lifecycle
from tests.cluster import manifests
from tests.recipes.tiny import SMALL

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def job_server() -> Iterator[str]:
    """A head node of its own with the job server on, all ports its own; it ends with these tests."""
    ports = {name: free_port() for name in ("port", "dashboard-port", "dashboard-agent-listen-port")}
    temp_dir = tempfile.mkdtemp(prefix="rj-")  # short: the paths of Ray's sockets lie below it
    ray = str(Path(sys.executable).parent / "ray")
    command = [ray, "start", "--head", "--block", "--num-cpus=4", f"--temp-dir={temp_dir}", "--disable-usage-stats"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **NODES, "RAY_AUTH_MODE": "disabled", "PATH": path}
    environment.pop("RAY_ADDRESS", None)
    head = subprocess.Popen(
        [*command, *(f"--{name}={port}" for name, port in ports.items())],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    try:
        _wait_for(f"{address}/api/version")
        _wait_for(f"http://127.0.0.1:{ports['dashboard-agent-listen-port']}/api/local_raylet_healthz")
        yield address
    finally:
        head.kill()  # its reaper ends the rest of the group at once; asked to end by itself, it takes half a minute
        head.wait(timeout=60)
        shutil.rmtree(temp_dir, ignore_errors=True)


def _wait_for(url: str) -> None:
    for _ in range(240):
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer")


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("ray_session")
def test_a_submitted_recipe_gives_the_same_model(job_server: str, tmp_path: Path) -> None:
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    settings = [argument for setting in SMALL for argument in ("-s", setting)]
    alone = lifecycle.call("run", "fraud", *settings, "--root", here, "--to", "register")
    assert alone.returncode == 0, alone.stderr
    submit = [str(Path(sys.executable).parent / "ray"), "job", "submit", "--address", job_server, "--"]
    recipe = [sys.executable, str(ROOT / "jobs" / "fraud.py"), *settings, "--root", there, "--to", "register"]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    job = subprocess.run([*submit, *recipe], check=False, capture_output=True, text=True, timeout=300, env=environment)
    assert job.returncode == 0, job.stdout + job.stderr
    first, second = lifecycle.newest_run(here), lifecycle.newest_run(there)
    assert lifecycle.artifact(first, "register")["digest"] == lifecycle.artifact(second, "register")["digest"]
    assert json.loads((Path(there) / "runs" / second["id"] / "run.json").read_text())["status"] == "done"


def test_the_command_of_the_cron_job_hands_in_a_look_and_tells_how_it_ended(job_server: str, tmp_path: Path) -> None:
    words = {"IMAGE": "i", "RECIPE": "fraud", "BUCKET": "b"}
    (cron,) = manifests.documents((ROOT / "cluster" / "eks" / "watch.yaml").read_text(), **words)
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    here = {
        "ray": str(Path(sys.executable).parent / "ray"), "--address=http://ray-mlops-head-svc:8265": f"--address={job_server}",
        "jobs/watch.py": str(ROOT / "jobs" / "watch.py"), "s3://b/mlops": str(tmp_path),
    }  # fmt: skip
    command = [here.get(word, word) for word in (*container["command"], *container["args"])]
    assert set(here.values()) <= set(command)
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 1 and "the endpoint does not answer" in done.stdout, done.stdout + done.stderr
