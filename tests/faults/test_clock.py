"""The clock is put forward by an hour and back again, in every Python process, in the middle of everything: nothing is lost or counted twice."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ray_mlops.monitoring.history import History
from ray_mlops.platform import files
from ray_mlops.platform.runtime import free_port
from tests import lifecycle
from tests.faults.jumping.sitecustomize import FILE

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
HOUR = 3600
JUMPING = Path(__file__).parent / "jumping"
BATCH = 50
AT_ONCE = 10  # requests that the key allows


class Machine:
    """What runs on a machine whose wall clock is set: a Ray of its own, commands and an endpoint."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.root, self.port = folder / "clock", folder / "root", free_port()
        self.environment = {**os.environ, "RAY_MLOPS_HOME": str(folder / "home"), FILE: str(self.clock)}
        path = [str(JUMPING), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        self.environment.pop("RAY_ADDRESS", None)
        self.set(0)

    def set(self, seconds: float) -> None:
        """Have the clocks of all processes be so far off."""
        files.write_text(str(self.clock), str(seconds))

    def start(self, *words: str) -> "subprocess.Popen[str]":
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(lifecycle.command(*words), env=self.environment, **pipes)

    def call(self, *words: str) -> str:
        """What a command prints, which has to succeed."""
        process = self.start(*words)
        told, errors = process.communicate(timeout=300)
        assert process.returncode == 0, told + errors
        return told

    def run(self, root: Path, *more: str) -> list[str]:
        """The words of the recipe, into a root."""
        fields = (f"deploy.port={self.port}", "monitor.min_requests=50", "monitor.window_s=1")
        settings = [word for field in (*fields, "deploy.watching.window_s=2") for word in ("-s", field)]
        return ["run", lifecycle.TINY, "--root", str(root), *settings, *more]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(tmp_path_factory.mktemp("clock"))
    yield made
    made.set(0)
    made.start("undeploy", "tiny", "--root", str(made.root)).communicate(timeout=120)


def test_the_clock_of_a_process_is_set_and_its_monotonic_one_is_not(machine: Machine) -> None:
    code = (
        "import time; before = time.time(), time.monotonic(); print('set it', flush=True); input(); time.sleep(0.2); "
        "print(time.time() - before[0], time.monotonic() - before[1])"
    )
    process = subprocess.Popen(
        [lifecycle.command()[0], "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=machine.environment,
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "set it\n"
    machine.set(HOUR)
    told, _ = process.communicate("\n", timeout=60)
    machine.set(0)
    wall, monotonic = map(float, told.split())
    assert wall > HOUR > monotonic


def test_a_run_whose_clock_jumps_in_every_stage_makes_the_same_model(machine: Machine, tmp_path: Path) -> None:
    key = machine.call(
        "keys", "create", "tester", "--days", str(0.5 / 24), "--rate", str(AT_ONCE), "--root", str(machine.root)
    )
    machine.call(*machine.run(tmp_path, "--to", "register"))
    run, jumps = machine.start(*machine.run(machine.root, "-v")), 0
    assert run.stdout
    for line in run.stdout:
        # Not while Serve starts HAProxy and loads it again: it takes that for crashed where the wall clock says that it took an hour.
        if line.strip().endswith(" begins") and not line.startswith("monitor"):
            jumps += 1
            machine.set(HOUR * (jumps % 2))
    _, errors = run.communicate(timeout=300)
    machine.set(0)
    assert run.returncode == 0 and jumps == 10, errors
    made, undisturbed = lifecycle.newest_run(machine.root), lifecycle.newest_run(tmp_path)
    assert made["status"] == "done"
    digest = [lifecycle.artifact(record, "register")["digest"] for record in (made, undisturbed)]
    assert digest[0] == digest[1]
    assert all(entry["seconds"] >= 0 for entry in made["stages"])
    _an_endpoint_answers_and_counts(machine, key.strip(), lifecycle.artifact(made, "deploy"))


def _an_endpoint_answers_and_counts(machine: Machine, key: str, endpoint: dict[str, Any]) -> None:
    url = f"http://127.0.0.1:{machine.port}/tiny"
    bearer = {"Authorization": f"Bearer {key}"}
    example = httpx.get(f"{url}/model", headers=bearer).json()["example"]
    history, sent = History(endpoint["monitoring"], endpoint["digest"]), 0
    before = history.counted()[0]

    def ask(expected: int) -> None:
        nonlocal sent
        rows = [{**example, "transaction_id": 10**9 + sent + number} for number in range(BATCH)]
        answer = httpx.post(f"{url}/score?reasons=0", json={"transactions": rows}, headers=bearer, timeout=30)
        assert answer.status_code == expected, answer.text
        sent += BATCH * (expected == 200)

    def counted() -> bool:
        return history.counted()[0] - before == sent

    ask(200)
    machine.set(HOUR)
    _until(lambda: httpx.get(f"{url}/model", headers=bearer).status_code == 401, "a key whose time is over is taken")
    judged = machine.call("watch", lifecycle.TINY, "--once", "--root", str(machine.root))
    assert "this look failed" not in judged
    machine.set(0)
    _until(
        lambda: httpx.get(f"{url}/model", headers=bearer).status_code == 200, "a key whose time is not over is refused"
    )
    for _ in range(3):
        ask(200)
    machine.call("watch", lifecycle.TINY, "--once", "--root", str(machine.root))
    _until(counted, f"{sent} were sent, counted are {history.counted()} less {before}")
    files_of = [name for one in history.judged() for name in one.files]
    assert len(files_of) == len(set(files_of)), "a window was judged twice"


def _until(true: Any, what: str, limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.3)
