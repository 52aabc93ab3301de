"""The processes that answer for an endpoint, and waiting for something to become so."""

import time
from collections.abc import Callable
from pathlib import Path


def replicas(name: str) -> list[int]:
    """All replicas of an endpoint on this machine."""
    title = f"ray::ServeReplica:{name}:Replica".encode()
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if title in _read(path)]


def wait(condition: Callable[[], object], seconds: float = 120) -> None:
    """Returns as soon as something is so; fails when it has not become so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.05)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended meanwhile
        return b""
