"""The capture log: one JSON line per answer, appended by each replica to segments of its own.

A line is with the operating system before its request is answered, so that a killed replica loses none; only a disk that
is stuck is not waited for, and a full one not minded: see `Appender`. Card numbers and other inputs are in the lines; the
folder is readable by its owner only.
"""

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field

from ray_mlops.contract import LABEL_LINE
from ray_mlops.serving.appender import Appender, Queueing

_MODE = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class Capturing(Queueing):
    """How much is captured: `sample` is the share of transactions (of requests, where they have no id), chosen by their id
    so that one sent again is chosen again. Labels are always captured. A lost entity store is filled again from the log:
    below 1 only in part."""

    sample: float = Field(default=1.0, ge=0, le=1)


class Capture:
    """The log of one replica, in `folder`, which is local and made when needed."""

    def __init__(self, folder: str, prefix: str, capturing: Capturing | None = None) -> None:
        capturing = capturing or Capturing()
        self._limit = round(capturing.sample * (1 << 32))
        self._appender = Appender(folder, prefix, capturing)
        self.skipped = 0
        self.settled, self.flush, self.close = self._appender.settled, self._appender.flush, self._appender.close

    @property
    def path(self) -> Path:
        """The segment that is written to."""
        return self._appender.path

    def write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Have one line per mapping appended, all or none of them; NaN becomes null."""
        given = list(lines)
        chosen = [line for line in given if self._chosen(line)]
        self.skipped += len(given) - len(chosen)
        self._appender.write([orjson.dumps(line, option=_MODE) for line in chosen])

    def counts(self) -> dict[str, int]:
        """Lines `written`, `dropped` (no room in the queue or on the disk) and `skipped` (not sampled), and answers that
        went out `late`ly logged; since this replica started."""
        kept = self._appender
        return {"written": kept.written, "dropped": kept.dropped, "skipped": self.skipped, "late": kept.late}

    def _chosen(self, line: Mapping[str, Any]) -> bool:
        if self._limit == 1 << 32 or line.get("kind") == LABEL_LINE:
            return True
        key = line["id"] if "id" in line else line["request_id"]
        return zlib.crc32(str(key).encode()) < self._limit
