"""Sketches by window of time, as replicas write them into the run root: a file a window and replica.

A file is written whole or not at all, again and again until its window is over, each time with all that the replica has
counted in it: whoever reads sees every request once.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ray_mlops.contract import Frozen
from ray_mlops.monitoring.sketches import Sketch
from ray_mlops.platform import files

_FORMAT = 1
SUFFIX = ".json"


class Window(Frozen):
    """What a replica has counted of one version from `start` on (seconds since the epoch) for `seconds`: the vector of a
    sketch, and what became of its lines of the capture log meanwhile. What is `late` belongs to the same window, but could not
    be written in time: it is in no other file."""

    replica: str
    start: int
    seconds: int
    late: int = 0
    counts: list[int]
    capture: Mapping[str, int] = {}

    @property
    def name(self) -> str:
        """Its file's; names sort by time."""
        return f"{self.start:012d}-{self.replica}{'-late' if self.late else ''}{SUFFIX}"

    @property
    def end(self) -> int:
        return self.start + self.seconds


def folder_of(monitoring: str, digest: str) -> str:
    """Where the windows of a version are, below the folder for the monitoring of an endpoint."""
    return files.join(monitoring, digest[:16], "windows")


def write(folder: str, window: Window) -> None:
    """Keep a window; one of the same replica and time is replaced. Raises `StorageError`."""
    content = {"format": _FORMAT, **window.model_dump()}
    files.write_bytes(files.join(folder, window.name), orjson.dumps(content))


def read(folder: str, names: Iterable[str] | None = None) -> list[Window]:
    """The windows of a folder (or those named), by time; one that another process has taken away meanwhile is left out."""
    chosen = sorted(name for name in files.listing(folder) if name.endswith(SUFFIX)) if names is None else names
    found = (files.find_bytes(files.join(folder, name)) for name in chosen)
    return [_window(content) for content in found if content]


def _window(content: bytes) -> Window:
    told: dict[str, Any] = orjson.loads(content)
    told.pop("format")
    return Window.model_validate(told)


def merged(windows: Iterable[Window], empty: Sketch) -> Sketch:
    """All windows in one sketch: `empty`, which is added to."""
    for window in windows:
        empty.merge(Sketch(empty.baseline, counts=window.counts))
    return empty


def captured(windows: Iterable[Window]) -> dict[str, int]:
    """What became of the lines of the capture log in all windows."""
    total: dict[str, int] = {}
    for window in windows:
        for name, count in window.capture.items():
            total[name] = total.get(name, 0) + count
    return total
