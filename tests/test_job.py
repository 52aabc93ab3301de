"""The same recipe as a Ray job: submitted with Ray's own command, it gives the model the command line gives."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_mlops.platform.runtime import SETTINGS, free_port
from tests import lifecycle
from tests.recipes.tiny import SMALL

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def job_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A head node of its own with the job server on; it ends with this test."""
    script = "import ray, sys, time; ray.init(num_cpus=4, include_dashboard=True, dashboard_port=int(sys.argv[1]), log_to_driver=False); time.sleep(900)"
    port = free_port()
    environment = {
        **os.environ,
        **SETTINGS,
        "RAY_AUTH_MODE": "disabled",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("RAY_ADDRESS", None)
    head = subprocess.Popen([sys.executable, "-c", script, str(port)], env=environment, stdin=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api/version")
        yield address
    finally:
        head.terminate()
        head.wait(timeout=30)


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
