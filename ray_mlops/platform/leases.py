"""Having a folder to oneself on `s3://`, which knows no locks: by leases, small files of which S3 lets one process create each.

Leases are numbered, and the newest one holds. Its owner writes it anew every few seconds. Who waits takes one that has not
changed for `SILENT_S`, by its own clock, for that of a dead process, and creates the next number: of several that do, one
succeeds. No clock of one machine is held against that of another.

A process that was held up for longer than that, and not dead, goes on beside the next one: what is written has to bear that, as
stages do, which make the same from the same.
"""

import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ray_mlops.errors import StorageError
from ray_mlops.platform import files, processes

FOLDER = ".lock"
SCHEME = "s3://"
BEAT_S, LOOK_S = 10.0, 1.0
SILENT_S = 180.0  # longer than S3 may be overloaded before a request is given up
_BYTES = 512  # always as many: Arrow asks for the size of a file first, and then for so many bytes
_LOG = logging.getLogger(__name__)


class _Lease(NamedTuple):
    """A lease as it was read: `owner` names one holding of the folder, `beat` counts how often it was written."""

    number: int
    owner: str
    host: str
    pid: int
    beat: int
    over: bool

    @property
    def dead(self) -> bool:
        """Whether its process was one of this machine and is no more."""
        return self.host == processes.here() and not processes.is_alive(self.pid)


@contextmanager
def alone(uri: str, *, silent_s: float = SILENT_S) -> Iterator[None]:
    """Wait until no other process has this folder to itself, then have it. Other object stores than S3 know no way: there
    nobody waits. Raises `StorageError`."""
    if not uri.startswith(SCHEME):
        with files.alone(uri):
            yield
        return
    held = _take(files.join(uri, FOLDER), silent_s)
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(held, over, min(BEAT_S, silent_s / 4)), name="lease", daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        with suppress(StorageError):  # then it falls silent
            held.write(over=True)


class _Held:
    """A lease of this process."""

    def __init__(self, folder: str, number: int, owner: str) -> None:
        self._folder, self._number, self._owner, self._beat = folder, number, owner, 0

    def create(self) -> bool:
        """Whether the folder is ours now; the older leases are done with then."""
        path = _path(self._folder, self._number)
        if not files.create_bytes(path, self._content(over=False)):
            return False
        numbers = _numbers(self._folder)
        if max(numbers) > self._number:  # it had been held and was done with since we looked
            files.remove(path)
            return False
        for number in numbers:
            if number < self._number:
                files.remove(_path(self._folder, number))
        return True

    def write(self, *, over: bool) -> None:
        """Show that its process lives, or that it needs the folder no more."""
        self._beat += 1
        files.write_bytes(_path(self._folder, self._number), self._content(over=over))

    def _content(self, *, over: bool) -> bytes:
        told = {"owner": self._owner, "host": processes.here(), "pid": os.getpid(), "beat": self._beat}
        return json.dumps({**told, "over": over}).encode().ljust(_BYTES)


def _take(folder: str, silent_s: float) -> _Held:
    owner = secrets.token_hex(8)
    last, since, told = None, time.monotonic(), False
    while True:
        found = _newest(folder)
        if found and found.owner == owner:  # it was created, and the answer was lost
            return _Held(folder, found.number, owner)
        if found != last:
            last, since = found, time.monotonic()
        if found is None or found.over or found.dead or time.monotonic() - since > silent_s:
            held = _Held(folder, found.number + 1 if found else 1, owner)
            if held.create():
                return held
        elif not told:
            told = True
            _LOG.warning(
                "process %d of %s is at work in %s: waiting for it, or until it was not heard of for %g s",
                found.pid, found.host, folder.removesuffix(f"/{FOLDER}"), silent_s,
            )  # fmt: skip
        time.sleep(min(LOOK_S, silent_s / 4))


def _beat(held: _Held, over: threading.Event, every_s: float) -> None:
    while not over.wait(every_s):
        with suppress(StorageError):  # the next one may go
            held.write(over=False)


def _newest(folder: str) -> _Lease | None:
    while number := max(_numbers(folder), default=0):
        if content := files.find_bytes(_path(folder, number)):
            return _Lease(number, **json.loads(content))
    return None


def _numbers(folder: str) -> list[int]:
    return [int(name) for name in files.listing(folder) if name.isdigit()]


def _path(folder: str, number: int) -> str:
    return files.join(folder, f"{number:06d}")
