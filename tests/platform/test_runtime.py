"""The local cluster: found by the next command, gone with its last endpoint, replaced when it was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ray_mlops.platform import runtime

CONNECT = """
import json, sys
from ray_mlops.platform import runtime
runtime.connect()
import ray
print(json.dumps({"sum": ray.get(ray.remote(lambda: 1 + 1).remote()), **runtime._record()}))
for action in sys.argv[1:]:
    getattr(runtime, action)("fraud")
runtime.disconnect()
runtime.leave(0)
"""

LEAVE = """
import atexit
from ray_mlops.platform import runtime
atexit.register(print, "handlers run")
print("printed before", end=" ")
runtime.leave(3)
"""


def use(home: Path, *actions: str) -> dict:
    """Connect in a process of its own, compute something, keep or release an endpoint, disconnect."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, *actions],
        env={**environment, "RAY_MLOPS_HOME": str(home)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]


@pytest.mark.timeout(300)
def test_the_cluster_lives_as_long_as_an_endpoint_does_and_survives_its_own_death(tmp_path: Path) -> None:
    first = use(tmp_path, "keep")
    assert first["sum"] == 2 and is_alive(first["pid"])
    assert use(tmp_path)["pid"] == first["pid"], "the next command finds the same cluster"
    os.killpg(first["pid"], signal.SIGKILL)
    second = use(tmp_path, "keep", "release")
    assert second["pid"] != first["pid"] and second["sum"] == 2
    deadline = time.monotonic() + 30
    while is_alive(second["pid"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(second["pid"]) and not (tmp_path / "cluster.json").exists()
    assert not Path(second["temp_dir"]).exists()


def test_stopping_what_never_started_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path))
    runtime.stop()
    runtime.keep("fraud")
    assert not (tmp_path / "cluster.json").exists()


def test_a_process_leaves_with_its_code_its_output_and_its_exit_handlers() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVE], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, "printed before handlers run\n", "")


def test_a_free_port_is_free_and_outside_the_range_of_ray_workers() -> None:
    assert 20000 <= runtime.free_port() < 30000


def test_ctrl_c_while_the_cluster_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    starting = subprocess.Popen(
        [sys.executable, "-c", CONNECT],
        env={**environment, "RAY_MLOPS_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A test runner in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    deadline, mark = time.monotonic() + 60, str(tmp_path / "cluster.json")
    while not any("gcs_server" in command for command in bearing(mark)):
        assert time.monotonic() < deadline and starting.poll() is None
        mark = next((command.split()[-1] for command in bearing(mark)), mark)  # the folder of the cluster
        time.sleep(0.02)
    starting.send_signal(signal.SIGINT)
    assert starting.wait(timeout=60) != 0
    while found := bearing(mark):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert not Path(mark).exists() and not (tmp_path / "cluster.json").exists()


def bearing(mark: str) -> list[str]:
    """The command lines of all processes in which the mark stands."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_text().replace("\0", " "))
        except OSError:
            continue
    return [command for command in found if mark in command]
