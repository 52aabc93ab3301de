"""Ray, found or started. The one place that decides which cluster a command talks to.

Inside a submitted job, or with `RAY_ADDRESS` set, that cluster is used. Otherwise a local head node of our own is used,
started when the first stage really has to run. It lives outside the command, so endpoints outlive the command that
deployed them, and it goes away with the last endpoint. Its ports and its temporary folder are its own: other Ray
clusters on the host are never touched.
"""

import atexit
import fcntl
import json
import logging
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from ray_mlops.errors import EndpointError, RayMlopsError
from ray_mlops.platform import ingress, processes
from ray_mlops.platform.cores import cores
from ray_mlops.platform.ray_settings import NODES, SETTINGS

_QUIET = ("ray", "ray.data", "ray.train", "ray.tune", "ray.serve")
_PARQUET_BYTES_PER_TASK = 8 << 20
START_TIMEOUT_S = 120
_EXECUTORS_S = 15.0


def home() -> Path:
    """The folder of what belongs to this user and machine: the record of the local cluster and its endpoints."""
    return Path(os.environ.get("RAY_MLOPS_HOME", Path.home() / ".ray_mlops"))


def connect(*, verbose: bool = False) -> None:
    """Connect this process to Ray, starting a local head node when there is none; does nothing when connected."""
    _prepare()
    import ray

    if ray.is_initialized():
        return
    shared = os.environ.get("RAY_ADDRESS")
    address = shared or _local_address()
    # Nobody gives notice to our own head's only node; the watcher would take a second of a core beside the first steps of a fit.
    os.environ |= {} if shared else {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
    # Our own head has the settings from its start. Workers with a runtime environment are started anew, one by one,
    # and those that Ray holds ready would be of no use.
    settings = {key: os.environ[key] for key in SETTINGS}
    environment: dict[str, Any] = {"runtime_env": {"env_vars": settings}} if shared else {}
    try:
        ray.init(
            address=address,
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            **environment,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RayMlopsError(f"cannot connect to Ray at {address}: {error}") from error
    _quiet(verbose)
    if not shared:
        _leave_spare_cpus()


def _prepare() -> None:
    """Set what Ray reads when it is imported."""
    for key, value in SETTINGS.items():
        os.environ.setdefault(key, value)
    os.environ.setdefault("RAY_DATA_PARQUET_BIN_PACKING_BYTES", str(_PARQUET_BYTES_PER_TASK))
    os.environ.setdefault("RAY_AUTH_MODE", "disabled" if not os.environ.get("RAY_ADDRESS") else "token")


def identity() -> str:
    """Names the cluster that commands would use; one that has taken its place at the same address has another name.

    Empty where none answers; the address itself where that is none of a host and a port.
    """
    address = os.environ.get("RAY_ADDRESS") or (_record() or {}).get("address", "")
    if not re.fullmatch(r"[^/]+:[0-9]+", address):
        return address
    if not _listens(address):
        return ""
    _prepare()
    from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]  it is not written in Python
    from ray.exceptions import RayError

    try:
        return GcsClient(address=address).cluster_id.hex()
    except (RayError, RuntimeError):  # it is starting, or goes down
        return ""


def _leave_spare_cpus() -> None:
    """Let Ray Data start as many workers as there are cores: each costs seconds to start, and more are not faster."""
    import ray.data
    from ray.data import ExecutionResources

    ray.data.DataContext.get_current().execution_options.resource_limits = ExecutionResources(cpu=cores())


def _quiet(verbose: bool) -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    context.default_hash_shuffle_parallelism = 8
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.CRITICAL)


def is_up() -> bool:
    """Whether there is a cluster to connect to without starting one."""
    record = _record()
    return bool(os.environ.get("RAY_ADDRESS")) or (record is not None and _listens(record["address"]))


def disconnect() -> None:
    """Leave the cluster, and stop it when it is our own and neither an endpoint nor another command uses it."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return
    _await_executors()
    ray.shutdown()
    with _locked():
        record = _record()
        if record is None:
            return
        users = [user for user in record["users"] if user != os.getpid() and processes.is_alive(user)]
        _save({**record, "users": users})
        if not users and not record["endpoints"]:
            _stop(record)


def _await_executors() -> None:
    """Wait for the threads of Ray Data's executions: an execution that failed is given up on after two seconds, and the first
    call of its thread after `ray.shutdown` would end the process."""
    for thread in threading.enumerate():
        if thread.name.startswith(("StreamingExecutor", "ray-data-metadata-prefetch")):
            thread.join(_EXECUTORS_S)


def leave(code: int) -> NoReturn:
    """Leave the cluster and end the process with this code, once Python's own exit handlers have run.

    What is to be said has been said before: leaving takes a while and may go wrong. The metrics thread of Ray's driver outlives `ray.shutdown` and now and then crashes while the process destroys its
    static objects, which would turn the code of a command that succeeded into that of a crash (-11).
    """
    disconnect()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)


def ingress_folder() -> Path | None:
    """Where the ingress of our own cluster has its files; None where it has none or another cluster is used."""
    record = None if os.environ.get("RAY_ADDRESS") else _record()
    folder = ingress.folder_of(record["temp_dir"]) if record else None
    return folder if folder and folder.is_dir() else None


def keep(endpoint: str) -> None:
    """Note that an endpoint lives in the local cluster, which then outlives this process."""
    with _locked():
        if record := _record():
            _save({**record, "endpoints": sorted({*record["endpoints"], endpoint})})


def release(endpoint: str) -> None:
    """Note that an endpoint is gone from the local cluster."""
    with _locked():
        if record := _record():
            _save({**record, "endpoints": [name for name in record["endpoints"] if name != endpoint]})


@contextmanager
def _locked() -> Iterator[None]:
    """Commands side by side change the record one after the other."""
    home().mkdir(parents=True, exist_ok=True)
    with (home() / "cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stop() -> None:
    """End our own local cluster, and no other."""
    with _locked():
        if record := _record():
            _stop(record)


def _stop(record: Mapping[str, Any]) -> None:
    processes.end(record["pid"])
    _record_path().unlink(missing_ok=True)
    shutil.rmtree(record["temp_dir"], ignore_errors=True)


def _record_path() -> Path:
    return home() / "cluster.json"


def _record() -> dict[str, Any] | None:
    try:
        return json.loads(_record_path().read_text())
    except FileNotFoundError:
        return None


def _save(record: dict[str, Any]) -> None:
    from ray_mlops.platform import files

    files.write_json(str(_record_path()), record)


def _local_address() -> str:
    with _locked():
        record = _record()
        if record is not None and not _listens(record["address"]):
            _stop(record)
            record = None
        record = record or _start()
        _save({**record, "users": sorted({*record["users"], os.getpid()})})
        return record["address"]


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def _start() -> dict[str, Any]:
    # Unix socket paths below the temporary folder must stay under 107 characters: keep it short.
    temp_dir = tempfile.mkdtemp(prefix="rm-")
    log = Path(temp_dir) / "head.log"
    command = [sys.executable, "-m", "ray_mlops.platform.local_head", str(_record_path()), temp_dir]
    ports = (free_port(), free_port(), free_port(), free_port())
    with log.open("w") as stream, ingress.reserved() as kept:
        serving = ingress.prepare(ingress.folder_of(temp_dir), ports, kept)
        environment = {**os.environ, **NODES, **serving, "RAY_AUTH_MODE": "disabled"}
        environment.pop("RAY_ADDRESS", None)
        owner = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True,
            pass_fds=[kept.fileno()] if kept else [],
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and owner.poll() is None:
            if (record := _record()) and record["pid"] == owner.pid:
                return record
            time.sleep(0.05)
    except BaseException:  # Ctrl-C: nobody would end a cluster that nobody uses
        _stop({"pid": owner.pid, "temp_dir": temp_dir})
        raise
    processes.end(owner.pid)
    raise RayMlopsError(
        f"Ray did not start within {START_TIMEOUT_S} s: {log.read_text()[-500:].strip() or 'no output'}"
    )


def free_port(low: int = 20000, high: int = 29999) -> int:
    """A port nothing listens on, outside the range Ray gives to its workers (10002-19999)."""
    for port in random.sample(range(low, high), 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):  # taken
                probe.bind(("127.0.0.1", port))
                return port
    raise EndpointError(f"no free port between {low} and {high}")
