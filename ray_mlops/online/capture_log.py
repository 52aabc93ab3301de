"""The capture log of an endpoint, as it is read again: events and labels that replicas have acknowledged.

Each replica appends to segments of its own, which are compacted later (`platform.segments`). An event or a label may stand
in several lines, sent again or answered by another replica; what was received first is what the store recorded.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import orjson

from ray_mlops.contract import LABEL_LINE, Progress, no_progress
from ray_mlops.platform import segments
from ray_mlops.platform.segments import Read

T = TypeVar("T")
LINES_PER_STEP = 10_000


class Lines(NamedTuple):
    """What came since the last reading, in the order in which it was received: the inputs of events, and label lines."""

    events: list[tuple[Any, ...]]
    labels: list[Mapping[str, Any]]


class CaptureLog:
    """All lines of a capture folder; each reading goes on where the last one ended. An absent folder holds nothing."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._read: dict[str, Read] = {}

    def read(self, names: tuple[str, ...], *, progress: Progress = no_progress) -> Lines:
        """The new lines; of events the inputs called `names`, None where a line has none of that name.

        A line that is not whole is left for the next reading: a replica is writing it, or was killed while it did.
        """
        events: list[tuple[str, tuple[Any, ...]]] = []
        labels: list[tuple[str, Mapping[str, Any]]] = []
        for number, line in enumerate(self._lines(), start=1):
            received, inputs = str(line.get("time")), line.get("inputs")
            if line.get("kind") == LABEL_LINE:
                labels.append((received, line))
            elif isinstance(inputs, dict):
                events.append((received, tuple(map(inputs.get, names))))
            if number % LINES_PER_STEP == 0:
                progress(number, 0, "captured lines")
        return Lines(_in_order(events), _in_order(labels))

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        for name, line in segments.lines(self._folder, dict(self._read)):
            if line.endswith(b"\n"):
                before = self._read.get(name, Read())
                self._read[name] = Read(before.bytes + len(line), before.lines + 1)
                yield from _parsed(line)


def _in_order(found: list[tuple[str, T]]) -> list[T]:
    return [what for _, what in sorted(found, key=lambda pair: pair[0])]


def _parsed(line: bytes) -> Iterator[Mapping[str, Any]]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:  # the disk was full
        return
    if isinstance(found, dict):
        yield found
