"""The servers, each started on a port of its own and ended again: ours, and the peers in environments of their own."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving_load import below

from ray_mlops.platform import runtime
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving import endpoint
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.image_replica import ImageReplica, ImageSettings
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.replica import Replica, Settings

PEERS = Path(__file__).parent / "serving_peers"
READY_S = 60
_ENDPOINT = "fraud"


@dataclass(frozen=True)
class Server:
    """A server that answers: where, and the process that all of it is below."""

    url: str
    pid: int


def prepare(environments: Path, names: Sequence[str]) -> None:
    """Make the environments of peers that are not there yet, from `serving_peers/pins.json`."""
    for name, pins in json.loads((PEERS / "pins.json").read_text()).items():
        folder, wanted = environments / name, "\n".join(pins)
        made = folder / "made"  # what it was made of
        if name not in names or (made.exists() and made.read_text() == wanted):
            continue
        if not made.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(folder / "bin/pip"), "install", "-q", *pins], check=True)
        made.write_text(wanted)


@contextmanager
def ours(folder: Path, bundle: Bundle, *, root: Path, limits: Limits | ImageLimits | None = None) -> Iterator[Server]:
    """Our endpoint: one replica on a local cluster of its own, with all that it has around it; for pictures where the
    limits are those of pictures."""
    limits = limits or Limits(reasons=0)
    fields: dict[str, Any] = {"name": _ENDPOINT, "bundle": bundle.uri, "digest": bundle.digest, "version": "1"}
    fields |= {"capture": f"{folder}/capture", "limits": limits}
    pictures = isinstance(limits, ImageLimits)
    settings = ImageSettings(**fields) if pictures else Settings(store=f"sqlite:///{folder}/entities.db", **fields)
    os.environ["RAY_MLOPS_HOME"] = str(root)
    os.environ.pop("RAY_ADDRESS", None)
    runtime.connect()
    try:
        replica, route = (ImageReplica, "predict") if pictures else (Replica, "score")
        url = endpoint.start(settings, Scale(max_replicas=1), port=runtime.free_port(), replica=replica)
        yield Server(f"{url}/{route}", json.loads((root / "cluster.json").read_text())["pid"])
        endpoint.undeploy(_ENDPOINT)
    finally:
        runtime.disconnect()
        runtime.stop()


@contextmanager
def peer(name: str, environments: Path, model: Path, kind: str, body: bytes) -> Iterator[Server]:
    """A peer, once it answers a body; raises RuntimeError with its output when it does not."""
    port = runtime.free_port()
    command, path = _command(name, environments, model, port), "/invocations" if name == "mlflow" else "/score"
    environment = {**_environment(name, environments, model, port), "BENCHMARK_KIND": kind}
    log = model / f"{name}.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=PEERS, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        deadline = time.monotonic() + READY_S
        while ask(f"127.0.0.1:{port}", path, body)[0] != 200:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.3)
        yield Server(f"http://127.0.0.1:{port}{path}", process.pid)
    finally:
        _end(process)


def ask(address: str, path: str, body: bytes) -> tuple[int, Any]:
    """Status and content of one answer; 0 where there is none."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


def _command(name: str, environments: Path, model: Path, port: int) -> list[str]:
    own = environments / name / "bin"
    quiet = ["--host", "127.0.0.1", "--port", str(port)]
    return {
        "fastapi": [str(own / "uvicorn"), "peer_fastapi:app", *quiet, "--no-access-log", "--log-level", "warning"],
        "litserve": [str(own / "python"), "peer_litserve.py", str(port)],
        "bentoml": [str(own / "bentoml"), "serve", "peer_bentoml:Fraud", *quiet, "-q"],
        "mlserver": [str(own / "mlserver"), "start", str(_mlserver_folder(model, port))],
        "serve": [sys.executable, "peer_serve.py", str(port)],
        "mlflow": [
            *(sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model / "mlflow")),
            *("--env-manager", "local", "-w", "1", "-h", "127.0.0.1", "-p", str(port)),
        ],
    }[name]


def _mlserver_folder(model: Path, port: int) -> Path:
    folder = model / "mlserver"
    folder.mkdir(exist_ok=True)
    server = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": 0,
        "debug": False,
        "access_log_enabled": False,
    }
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps({"name": "fraud", "implementation": "peer_mlserver.Fraud"}))
    return folder


def _environment(name: str, environments: Path, model: Path, port: int) -> Mapping[str, str]:
    paths = {"PATH": f"{environments / name / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    settled = {"BENCHMARK_MODEL": str(model), "PYTHONPATH": str(PEERS), "RAY_AUTH_MODE": "disabled"}
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0", "BENTOML_HOME": str(model / "bentoml")}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY")}
    return {**kept, **paths, **settled, **quiet, "PORT": str(port)}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a server and all that it started, also what has left its process group."""
    started = below(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        pass
    for kill, known in ((os.killpg, [process.pid]), (os.kill, started[1:])):
        for one in known:
            try:
                kill(one, signal.SIGKILL)
            except ProcessLookupError:
                pass
    process.wait()
