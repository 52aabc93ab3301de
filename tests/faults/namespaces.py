"""A real Ray cluster on one machine whose nodes have an address and processes of their own, as machines have.

Each node lives in a network namespace, joined to the others by a bridge, and in a process namespace. So a node can be
cut off (its link goes down while it runs on) and can be lost (all its processes are killed at once), and a head node
can come back at its old address. Needs root, `ip` (iproute2), `unshare` and `nsenter` (util-linux); `missing` says what there is not.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ray_mlops.platform.ray_settings import NODES

ROOT = Path(__file__).resolve().parents[2]
PORT, DASHBOARD = 6379, 8265
STORE_BYTES = 150 << 20
LIMIT_S = 120
# A node that does not answer is given up after some three seconds, not half a minute: a test would wait.
SETTINGS = {
    **NODES,
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_grpc_client_keepalive_time_ms": "2000",
    "RAY_grpc_client_keepalive_timeout_ms": "1000",
}


def missing() -> str:
    """Why there can be no namespaces here; empty where there can."""
    if absent := [program for program in ("ip", "unshare", "nsenter") if shutil.which(program) is None]:
        return f"no {absent[0]} (Debian's iproute2 and util-linux)"
    if os.geteuid():
        return "namespaces need root"
    name = f"rm{secrets.token_hex(3)}"
    tried = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    return tried.stderr.strip()


def until(true: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait until something is true, but not for ever."""
    end = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {limit_s:g} s: {what}")
        time.sleep(0.05)


class Network:
    """A bridge with an address of its own, and the namespaces behind it."""

    def __init__(self) -> None:
        self.mark = f"rm{secrets.token_hex(3)}"
        self.prefix = f"10.213.{secrets.randbelow(250) + 1}"
        self.address = f"{self.prefix}.1"
        self._members = 1
        _ip(f"link add {self.mark} type bridge")
        _ip(f"addr add {self.address}/24 dev {self.mark}")
        _ip(f"link set {self.mark} up")

    def join(self) -> tuple[str, str]:
        """A new namespace: its name, which is also that of its link on this side, and its address."""
        self._members += 1
        name, address = f"{self.mark}-{self._members}", f"{self.prefix}.{self._members}"
        _ip(f"netns add {name}")
        _ip(f"link add {name} type veth peer name eth0 netns {name}")
        _ip(f"link set {name} master {self.mark} up")
        _ip(f"-n {name} link set lo up")
        _ip(f"-n {name} addr add {address}/24 dev eth0")
        _ip(f"-n {name} link set eth0 up")
        _ip(f"-n {name} route add default via {self.address}")
        return name, address

    def close(self) -> None:
        """Nothing of it is left."""
        for name in subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout.split():
            if name.startswith(f"{self.mark}-"):
                subprocess.run(
                    ["ip", "link", "del", name], check=False, capture_output=True
                )  # gone with its node, or soon
                _ip(f"netns del {name}")
        _ip(f"link del {self.mark}")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True, text=True)


class Node:
    """One node; `arguments` are those of `ray start`."""

    def __init__(
        self, member: tuple[str, str], folder: Path, arguments: Sequence[str], settings: Mapping[str, str]
    ) -> None:
        self.name, self.address = member
        self.environment = {**os.environ, **SETTINGS, "PYTHONPATH": str(ROOT), **settings}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # a job's `python` is this one
        self.environment.pop("RAY_ADDRESS", None)
        self.log = folder / f"{self.name}.log"
        apart = ["ip", "netns", "exec", self.name, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        # Processes of two nodes have the same numbers, and Ray names files by them.
        apart_too = f"--temp-dir={folder / self.address.rpartition('.')[2]}"
        own = [f"--node-ip-address={self.address}", f"--object-store-memory={STORE_BYTES}", apart_too]
        with self.log.open("a") as log:
            self._holder = subprocess.Popen(
                [*apart, *ray, *own, *arguments],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether its first process is there."""
        return self._holder.poll() is None

    def inside(self, command: Sequence[str]) -> list[str]:
        """A command as it runs on this node: with its address, ended with it."""
        return ["nsenter", "--target", str(self._first()), "--net", "--pid", "--mount", "--", *command]

    def cut(self) -> None:
        """Take its link down: it runs on, but hears and tells nothing."""
        _ip(f"link set {self.name} down")

    def kill(self) -> None:
        """Kill all its processes at once."""
        self._holder.send_signal(signal.SIGKILL)
        self._holder.wait()

    def processes(self) -> Iterator[tuple[int, str]]:
        """Its processes, by their numbers on this machine, with what they call themselves."""
        if not self.alive:
            return
        own = os.readlink(f"/proc/{self._first()}/ns/pid")
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if os.readlink(entry / "ns" / "pid") == own:
                        yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()

    def _first(self) -> int:
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        until(children.read_text, f"{self.name} did not start: {self.log}")
        return int(children.read_text().split()[0])


class Fleet:
    """A head node without CPUs, and workers that come and go."""

    def __init__(self, network: Network, folder: Path, *, cpus: int, settings: Mapping[str, str]) -> None:
        self.network, self.folder, self.settings, self.cpus = network, folder, settings, cpus
        self._seat = network.join()
        self.workers: list[Node] = []
        self.head = self.start_head()

    @property
    def address(self) -> str:
        """Where nodes and drivers connect to."""
        return f"{self._seat[1]}:{PORT}"

    @property
    def dashboard(self) -> str:
        """Where jobs are submitted."""
        return f"http://{self._seat[1]}:{DASHBOARD}"

    def start_head(self) -> Node:
        """Start the head node, or start it again at its old address."""
        words = ["--head", f"--port={PORT}", "--num-cpus=0", "--dashboard-host=0.0.0.0"]
        self.head = Node(self._seat, self.folder, [*words, f"--dashboard-port={DASHBOARD}"], self.settings)
        return self.head

    def add(self) -> Node:
        """Start another worker."""
        node = Node(
            self.network.join(), self.folder, [f"--address={self.address}", f"--num-cpus={self.cpus}"], self.settings
        )
        self.workers.append(node)
        return node

    def lose(self, node: Node) -> None:
        """Whatever happened to a worker, it is gone for good."""
        node.kill()
        self.workers.remove(node)

    def wait(self, workers: int) -> None:
        """Until so many workers are alive, as the head sees it."""
        until(lambda: self.alive() == workers + 1, f"{workers} workers are not up: {self.folder}/*.log")

    def alive(self) -> int:
        """How many nodes the head says are alive; 0 where it does not answer."""
        from ray._raylet import GcsClient

        with suppress(Exception):  # Ray tells in many ways that nobody answers
            found = GcsClient(address=self.address).get_all_node_info(timeout=5)
            return sum(info.state == 0 for info in found.values())
        return 0

    def close(self) -> None:
        """End every node."""
        for node in (*self.workers, self.head):
            node.kill()


@contextmanager
def network() -> Iterator[Network]:
    """A network of one's own."""
    made = Network()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def fleet(
    joined: Network,
    workers: int,
    *,
    cpus: int = 2,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Fleet]:
    """A cluster with so many workers; nothing of it is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="rn-"))  # short: the paths of Ray's sockets lie below it
    made = Fleet(joined, folder, cpus=cpus, settings=settings or {})
    try:
        until(made.alive, f"the head does not answer: {made.head.log}")
        for _ in range(workers):
            made.add()
        made.wait(workers)
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
