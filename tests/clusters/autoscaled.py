"""A head node whose other nodes Ray's own autoscaler starts and ends, as processes of this machine.

Ray's provider of made-up nodes (`fake_multi_node`) does it: all else, from the demand to the drained node, is what runs on a cloud. Ports and
temporary folder are the cluster's own, and its processes bear a mark in their environment: those are ended, and no others.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ray.util import get_node_ip_address

from ray_mlops.platform import runtime
from ray_mlops.platform.ray_settings import NODES

HEAD_ID, HEAD_KIND = "f" * 51 + "00000", "ray.head.default"  # as the provider calls them
MARK = "RAY_MLOPS_AUTOSCALED"
STORE_BYTES = 150 << 20
LIMIT_S = 120
SETTINGS = {
    **NODES,
    "RAY_AUTH_MODE": "disabled",
    "RAY_FAKE_CLUSTER": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
}


class Autoscaled(NamedTuple):
    """Where such a cluster is."""

    address: str
    dashboard: str
    folder: Path

    def nodes(self) -> int:
        """How many nodes beside the head are alive, as the head says; -1 where it does not answer."""
        from ray._raylet import GcsClient

        with suppress(Exception):  # Ray tells in many ways that nobody answers
            found = GcsClient(address=self.address).get_all_node_info(timeout=5)
            return sum(info.state == 0 for info in found.values()) - 1
        return -1

    def until(self, nodes: range, what: str, limit_s: float = LIMIT_S) -> None:
        """Wait until so many nodes are there, but not for ever."""
        end = time.monotonic() + limit_s
        while (found := self.nodes()) not in nodes:
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: there are {found} after {limit_s:g} s")
            time.sleep(0.2)


@contextmanager
def autoscaled(most: int, *, cpus: int = 1, idle_s: float = 5) -> Iterator[Autoscaled]:
    """A head without CPUs, which may have `most` nodes of `cpus`; who has been idle for so long goes."""
    folder = Path(tempfile.mkdtemp(prefix="ra-"))  # short: the paths of Ray's sockets lie below it
    port, dashboard = runtime.free_port(), runtime.free_port()
    made = Autoscaled(f"{get_node_ip_address()}:{port}", f"http://127.0.0.1:{dashboard}", folder)
    config = folder / "autoscaled.json"  # JSON is YAML
    config.write_text(json.dumps(_config(most, cpus, idle_s, made.address)))
    words = ["--head", "--block", "--num-cpus=0", f"--port={port}"]
    words += [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={runtime.free_port()}"]
    words += [f"--ray-client-server-port={runtime.free_port()}", f"--object-store-memory={STORE_BYTES}"]
    words += [f"--temp-dir={folder}", f"--autoscaling-config={config}", "--disable-usage-stats"]
    environment = {**os.environ, **SETTINGS, MARK: str(folder), "RAY_TMPDIR": str(folder)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # a job's `python` is this one
    environment.pop("RAY_ADDRESS", None)
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *words],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        made.until(range(1), f"the head does not answer ({folder})")
        yield made
    finally:
        _end(folder)
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _config(most: int, cpus: int, idle_s: float, address: str) -> dict[str, Any]:
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "head_node_id": HEAD_ID,
        "launch_multiple": True,
        "gcs_address": address,
        "use_internal_ips": True,
        "disable_node_updaters": True,  # nobody is to log in by SSH
    }
    kinds = {
        HEAD_KIND: {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0},
        "worker": {
            "resources": {"CPU": cpus, "object_store_memory": STORE_BYTES},
            "node_config": {},
            "min_workers": 0,
            "max_workers": most,
        },
    }
    commands = ("setup", "initialization", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        **{f"{name}_commands": [] for name in commands},
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        "upscaling_speed": 1.0,
        "cluster_name": "fake",
        "max_workers": most,
        "idle_timeout_minutes": idle_s / 60,
        "provider": provider,
        "available_node_types": kinds,
        "head_node_type": HEAD_KIND,
    }


def _end(folder: Path) -> None:
    """Kill whatever bears the mark of the cluster."""
    mark = f"{MARK}={folder}".encode()
    while found := [pid for pid in _processes() if mark in _environment(pid)]:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _processes() -> list[int]:
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()
    ]


def _environment(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []
