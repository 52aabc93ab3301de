"""`ray-mlops cluster`: a cluster of several Ray nodes on this machine, to try out what a real one does.

Ports, temporary folder and token are its own, and its processes bear a mark in their environment: it ends those and no
others. Its record lies in the home folder, beside that of the head node which commands start by themselves.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray_mlops.errors import RayMlopsError
from ray_mlops.platform import files, runtime
from ray_mlops.platform.cores import cores
from ray_mlops.platform.ray_settings import NODES

_MARK = "RAY_MLOPS_NODES"
_START_S = 180
_STORE_BYTES = 200 << 20  # what a node holds in memory, before it spills to its temporary folder


def up(workers: int, *, cpus: int | None = None) -> dict[str, Any]:
    """Start a head without CPUs and so many workers (each with `cpus`, by default its share of the cores and one more);
    returns the record: `address`, `dashboard`, `token` (a file), `temp_dir`, `workers`.

    Raises `RayMlopsError` when there is a cluster already, or one does not start.
    """
    if record() is not None:
        raise RayMlopsError("there is a cluster of ours already: `ray-mlops cluster status`, `ray-mlops cluster down`")
    temp_dir = tempfile.mkdtemp(prefix="rc-")  # short: the paths of Ray's sockets lie below it
    token = Path(temp_dir) / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    ports = {name: runtime.free_port() for name in ("dashboard_port", "agent_port", "client_port")}
    made = {
        "dashboard": f"http://127.0.0.1:{ports['dashboard_port']}",
        "token": str(token),
        "temp_dir": temp_dir,
        "workers": workers,
    }
    files.write_json(str(_path()), made)  # first of all, so that whatever happens `down` knows what to end
    each = cpus or max(1, cores() // max(1, workers)) + 1
    try:
        ready = Path(temp_dir) / "ready.json"
        wanted = {"workers": workers, "cpus": each, "store_bytes": _STORE_BYTES, "ready": str(ready), **ports}
        owner = _start(made, wanted)
        made |= json.loads(_wait(owner, ready, temp_dir))
        files.write_json(str(_path()), made)
        _wait_for_jobs(made)
    except BaseException:
        down()
        raise
    return made


def _start(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, **NODES, **credentials(made), _MARK: made["temp_dir"]}
    environment["RAY_TMPDIR"] = made["temp_dir"]  # also the note with which Ray finds "the" cluster of a machine
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # a job's `python` is this one
    environment.pop("RAY_ADDRESS", None)
    with (Path(made["temp_dir"]) / "nodes.log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ray_mlops.clusters.nodes", json.dumps(wanted)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait(owner: "subprocess.Popen[bytes]", ready: Path, temp_dir: str) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and owner.poll() is None:
        if ready.exists():
            return ready.read_text()
        time.sleep(0.1)
    log = (Path(temp_dir) / "nodes.log").read_text()[-1000:].strip()
    raise RayMlopsError(f"the nodes did not come up within {_START_S} s: {log or 'no output'}")


def _wait_for_jobs(made: Mapping[str, Any]) -> None:
    """Until the dashboard knows all nodes, which is when it takes jobs."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError, KeyError):
            if len(nodes(made)) > made["workers"]:
                return
        time.sleep(0.3)
    raise RayMlopsError(f"the dashboard at {made['dashboard']} did not answer within {_START_S} s")


def credentials(made: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a process that may talk to the cluster of a record."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": made["token"]}


def nodes(made: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The nodes that are alive, as the dashboard tells; raises `OSError` when it does not answer."""
    request = urllib.request.Request(f"{made['dashboard']}/api/v0/nodes?limit=1000")
    request.add_header("Authorization", f"Bearer {Path(made['token']).read_text()}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        found = json.load(answer)["data"]["result"]["result"]
    return [node for node in found if node["state"] == "ALIVE"]


def record() -> dict[str, Any] | None:
    """The record of the cluster, None where there is none."""
    try:
        return json.loads(_path().read_text())
    except FileNotFoundError:
        return None


def known(address: str) -> dict[str, Any] | None:
    """The record, when the address is that of our own cluster."""
    made = record()
    return made if made and address.rstrip("/") in (made["dashboard"], made.get("address")) else None


def down() -> int:
    """End the cluster: all processes that bear its mark, and no others; how many there were."""
    made = record()
    if made is None:
        return 0
    ended = set()
    for _ in range(20):  # whoever was being started while we looked is found by the next look
        found = set(_processes(made))
        if not found:
            break
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):  # one that this process started would stay as a zombie
                os.waitpid(pid, 0)
        ended |= found
        time.sleep(0.1)
    for _ in range(20):  # those that were ended may still have been writing
        shutil.rmtree(made["temp_dir"], ignore_errors=True)
        if not Path(made["temp_dir"]).exists():
            break
        time.sleep(0.1)
    _path().unlink(missing_ok=True)
    return len(ended)


def _processes(made: Mapping[str, Any]) -> Iterator[int]:
    """The processes of the cluster: their environment names its temporary folder."""
    mark = f"{_MARK}={made['temp_dir']}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)


def _path() -> Path:
    return runtime.home() / "nodes.json"
