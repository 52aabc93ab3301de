"""The memory of this process and all that it started: Ray's work is in many processes and in shared memory."""

import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

INTERVAL_S = 0.2


def available() -> float:
    """What processes can still take on this machine, GB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")) / 1e9


class Peak:
    """The largest use since this object was made, GB: what the processes hold for themselves and the object store.

    Where it passes the `limit`, `exceeded` is called with it, before the machine has to kill somebody.
    """

    def __init__(self, limit: float = math.inf, exceeded: Callable[[float], None] = lambda high: None) -> None:
        self.high = used()
        self._limit, self._exceeded = limit, exceeded
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL_S):
            self.high = max(self.high, used())
            if self.high > self._limit:
                self._exceeded(self.high)

    def stop(self) -> float:
        """The peak."""
        self._done.set()
        self._thread.join()
        return self.high


def used() -> float:
    """The use at this moment, GB."""
    shared: dict[int, int] = {}
    own = 0
    for process in family(os.getpid()):
        own += _private(process)
        shared.update(_shared_files(process))
    return (own + sum(shared.values())) / 1e9


def cpu_seconds() -> float:
    """Processor time of this process and all that it started, seconds; of those that have ended, where their parent
    still lives."""
    ticks = 0
    for process in family(os.getpid()):
        try:
            ticks += sum(map(int, _stat(process)[11:15]))
        except (OSError, IndexError):
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def family(root: int) -> list[int]:
    """A process and its descendants."""
    parents = dict(_parents())
    found = {root}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield int(folder.name), int(_stat(int(folder.name))[1])
        except (OSError, IndexError):
            continue  # it has ended


def _stat(process: int) -> list[str]:
    """The fields after the name, which may hold blanks."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _private(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def _shared_files(process: int) -> dict[int, int]:
    """The bytes that the files in shared memory take which a process has open, by inode."""
    found = {}
    try:
        for link in Path(f"/proc/{process}/fd").iterdir():
            if os.readlink(link).startswith("/dev/shm/"):
                entry = os.stat(link)
                found[entry.st_ino] = entry.st_blocks * 512
    except OSError:
        pass
    return found
