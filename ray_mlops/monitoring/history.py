"""Which windows have been judged, and how: one file a judged window in the run root, numbered.

It holds the files that it was made of, and their counts; then those are removed. Of two processes that judge at the same
time one creates the next number, so that no window is counted twice; one that dies before it has created it has changed
nothing, and one that dies before it has removed the files finds them named when it comes again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from ray_mlops.contract import Frozen
from ray_mlops.monitoring import windows
from ray_mlops.monitoring.alarms import Alarm
from ray_mlops.monitoring.readings import Reading
from ray_mlops.monitoring.windows import SUFFIX, Window
from ray_mlops.platform import files


class Judged(Frozen):
    """A stretch of time, seconds since the epoch, from `start` to `end`: what was counted in it and what was made of that;
    `total` is what was counted in it and all before it, `capture` and `captured` the same of the lines of the log."""

    number: int
    start: int
    end: int
    files: tuple[str, ...]
    counts: list[int]
    total: list[int]
    capture: Mapping[str, int] = {}
    captured: Mapping[str, int] = {}
    readings: tuple[Reading, ...] = ()
    alarms: tuple[Alarm, ...] = ()

    @property
    def requests(self) -> int:
        return self.counts[0]


class Stretch(NamedTuple):
    """Windows that are judged together."""

    windows: Sequence[Window]

    @property
    def start(self) -> int:
        return min(window.start for window in self.windows)

    @property
    def end(self) -> int:
        return max(window.end for window in self.windows)

    @property
    def requests(self) -> int:
        return sum(window.counts[0] for window in self.windows)


class History:
    """The judged windows of one version of an endpoint, and those that wait; `told` is the folder of what a webhook took."""

    def __init__(self, monitoring: str, digest: str) -> None:
        self._windows = windows.folder_of(monitoring, digest)
        self._judged = files.join(monitoring, digest[:16], "judged")
        self.told = files.join(monitoring, digest[:16], "told")

    def judged(self, last: int | None = None) -> list[Judged]:
        """The judged windows in their order, or the last few."""
        names = [name for name in files.listing(self._judged) if name.endswith(SUFFIX)]
        chosen = names if last is None else names[-last:] if last else []
        return [self._read(name) for name in chosen]

    def waiting(self) -> tuple[Judged | None, list[Window]]:
        """The last judgement, and the windows that are in none, by time."""
        before = next(iter(self.judged(last=1)), None)
        if before:
            self.tidy(before)
        found = {window.name: window for window in windows.read(self._windows)}
        # Asked for after the files: what others have judged meanwhile may be among them.
        names = [name for name in files.listing(self._judged) if name.endswith(SUFFIX)]
        for known in [self._read(name) for name in names if before is None or name >= _name(before.number)]:
            before = known
            for name in known.files:
                found.pop(name, None)
        return before, list(found.values())

    def counted(self) -> tuple[int, ...]:
        """How many requests have been counted until now: answered, answered without the model, refused."""
        last, waiting = self.waiting()
        parts = [(0, 0, 0), *([last.total[:3]] if last else []), *(window.counts[:3] for window in waiting)]
        return tuple(map(sum, zip(*parts, strict=True)))

    def add(self, judged: Judged) -> bool:
        """Record a judgement; False where another process has recorded the one of this number."""
        content = orjson.dumps(judged.model_dump())
        if not files.create_bytes(files.join(self._judged, _name(judged.number)), content):
            return False
        self.tidy(judged)
        return True

    def tidy(self, judged: Judged) -> None:
        """Remove the files that are in a judgement."""
        for name in judged.files:
            files.remove(files.join(self._windows, name))

    def _read(self, name: str) -> Judged:
        return Judged.model_validate(orjson.loads(files.read_bytes(files.join(self._judged, name))))


def _name(number: int) -> str:
    return f"{number:08d}{SUFFIX}"


def stretches(waiting: Iterable[Window], *, requests: int, seconds: float) -> list[Stretch]:
    """Windows in the order of time, put together until they hold so many requests and span so many seconds; the last of the
    stretches may fall short of it."""
    made: list[list[Window]] = []
    for window in sorted(waiting, key=lambda one: (one.start, one.replica)):
        open_ = Stretch(made[-1]) if made else None
        full = open_ and open_.requests >= requests and open_.end - open_.start >= seconds
        # Replicas count the same window side by side.
        if open_ is None or (full and window.start >= open_.end):
            made.append([])
        made[-1].append(window)
    return [Stretch(part) for part in made]
