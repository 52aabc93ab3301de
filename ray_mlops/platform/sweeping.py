"""Runs and the collection of garbage keep out of each other's way.

A run first shows itself and then looks for the mark of a collection; a collection first leaves its mark and then looks for
runs: whichever comes second sees the other. A mark is renewed while its collection works, and that of a killed one runs out.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from ray_mlops.errors import StorageError
from ray_mlops.platform import files

MARK = "gc.json"
_LASTS = timedelta(minutes=10)
_RENEWED_AFTER_S = 60.0


def refuse_during(root: str) -> None:
    """Raise `StorageError` while a collection works in a run root."""
    if told := _mark(root):
        raise StorageError(
            f"`ray-mlops gc` is at work in {root} ({told['host']}, process {told['pid']}): run again when it is over, or at "
            f"{told['until']} if it was killed"
        )


@contextmanager
def marked(root: str) -> Iterator[Callable[[], None]]:
    """Be the only collection in a run root; what is yielded has to be called now and then. Raises `StorageError`."""
    uri = files.join(root, MARK)
    if not files.create_bytes(uri, _content()):
        refuse_during(root)
        files.write_bytes(uri, _content())  # that of a killed one
    renewed = time.monotonic()

    def renew() -> None:
        nonlocal renewed
        if time.monotonic() - renewed > _RENEWED_AFTER_S:
            files.write_bytes(uri, _content())
            renewed = time.monotonic()

    try:
        yield renew
    finally:
        files.remove(uri)


def _content() -> bytes:
    until = datetime.now(UTC) + _LASTS
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "until": until.isoformat()}).encode()


def _mark(root: str) -> dict[str, str]:
    found = files.find_bytes(files.join(root, MARK))
    told = json.loads(found) if found else {}
    left = datetime.fromisoformat(told["until"]) - datetime.now(UTC) if told else timedelta(0)
    # One that lasts far longer was left before the clock was set back; a little, its clock is ahead of ours.
    return told if timedelta(0) < left <= 2 * _LASTS else {}
