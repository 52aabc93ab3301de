"""A note of each replica beside its windows: whether it can write them. A disk that is full cannot take a file, so the note is
made when the replica starts, and what is to be said later is written over it, in the room that it has."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ray_mlops.platform import files

SUFFIX = ".note"
_BYTES = 1024
FRESH_S = 120  # a replica that cannot write says so again and again; one that says nothing any more is gone


class Note(NamedTuple):
    """What a replica said last, in seconds since the epoch; `failing` is empty when it can write."""

    replica: str
    at: float
    failing: str
    dropped: int


def notes_of(monitoring: str) -> str:
    """Where the notes are, below the folder for the monitoring of an endpoint."""
    return files.join(monitoring, "replicas")


class NoteFile:
    """The note of one replica; where its folder is remote there is none, for that has no full disk."""

    def __init__(self, folder: str, replica: str) -> None:
        self._replica, self._path = replica, None
        if files.is_remote(folder):
            return
        place = Path(files.absolute(folder))
        try:
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{replica}{SUFFIX}").write_bytes(b" " * _BYTES)
            self._path = place / f"{replica}{SUFFIX}"
        except OSError:  # it is full now: then there is no room for a note either
            return

    def write(self, failing: str, dropped: int) -> None:
        """Say it, as far as the disk lets it."""
        if self._path is None:
            return
        told = json.dumps({"at": time.time(), "failing": failing[: _BYTES // 2], "dropped": dropped}, ensure_ascii=True)
        try:
            with open(os.open(self._path, os.O_WRONLY), "wb", buffering=0) as file:
                file.write(told.encode().ljust(_BYTES)[:_BYTES])
        except OSError:
            return

    def close(self) -> None:
        """Take it away."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def failing(monitoring: str, now: float) -> Iterator[Note]:
    """The replicas that said within the last two minutes that they cannot write."""
    folder = notes_of(monitoring)
    for name in files.listing(folder):
        content = files.find_bytes(files.join(folder, name)) if name.endswith(SUFFIX) else None
        try:
            told = json.loads(content or b"")
        except ValueError:  # nothing was to be said yet
            continue
        if told["failing"] and now - told["at"] < FRESH_S:
            yield Note(name.removesuffix(SUFFIX), told["at"], told["failing"], told["dropped"])
