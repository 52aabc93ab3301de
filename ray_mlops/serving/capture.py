"""The capture log: one JSON line per scored transaction, appended by each replica to a file of its own.

A line is in the operating system's hands before its request is answered, so that a killed replica loses none. Logging
never fails a request: what cannot be written (a full disk) is counted in `dropped`. Card numbers and other inputs are in
the lines; the folder is readable by its owner only.
"""

import os
import threading
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

_MODE = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class Capture:
    """Appends to `<folder>/<start of this replica>-<unique>.jsonl`; `folder` is local and made when needed."""

    def __init__(self, folder: str, prefix: str) -> None:
        place = Path(folder)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = place / f"{prefix}-{uuid.uuid4().hex[:12]}.jsonl"
        self.dropped = 0
        self._lock = threading.Lock()
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append one line per mapping, in one system call; NaN becomes null."""
        encoded = [orjson.dumps(line, option=_MODE) for line in lines]
        content = b"".join(encoded)
        with self._lock:
            try:
                written = os.write(self._file, content)
                if written < len(content):  # a disk that fills up takes a part: end it, so that the next line is whole
                    self.dropped += len(encoded)
                    os.write(self._file, b"\n")
            except OSError:
                self.dropped += len(encoded)

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            os.close(self._file)
            self._file = -1  # the number may soon belong to another file
