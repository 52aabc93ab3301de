"""What a replica counts of its requests, for monitoring: a sketch for each version and window of time, kept in the run root."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.errors import StorageError
from ray_mlops.monitoring import windows
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.history import History
from ray_mlops.monitoring.notes import NoteFile, notes_of
from ray_mlops.monitoring.sketches import Sketch
from ray_mlops.monitoring.windows import Window
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving.exposition import exposition

_LOG = logging.getLogger(__name__)
_MOST_KEPT = 1_000  # windows that could not be written yet
_READ_AFTER_S = 10.0  # after its end: sooner no judge takes a window for over
BASELINE = "baseline.json"


class Watching(Frozen):
    """How requests are counted for monitoring: `window_s` is the length of a window, which is written at the first request
    and then every `flush_s`. A replica that is killed loses what it has counted since; the capture log has it."""

    enabled: bool = True
    window_s: int = Field(default=60, ge=1)
    flush_s: float = Field(default=2.0, gt=0)


class Watcher:
    """All that one replica counts. Counting takes some microseconds; writing is done by a thread, and a disk that is full or
    away costs no request: what could not be written is kept, and written when it can be.

    `folder` is that of the endpoint's monitoring; `capture` tells what has become of the lines of the capture log.
    """

    def __init__(
        self,
        folder: str,
        replica: str,
        *,
        watching: Watching | None = None,
        capture: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._folder, self._replica, self._capture = folder, replica, capture
        self._watching = watching or Watching()
        self._watches: dict[str, Watch] = {}
        self._note, self._noted = NoteFile(notes_of(folder), replica), ""
        self._closing, self._wake, self._flushing = threading.Event(), threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="monitoring windows", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether there is nothing that it counts."""
        return not self._watches

    def watch(self, bundle: Bundle, names: Sequence[str]) -> "Watch | None":
        """The counts of a version; None where its bundle has no baseline. The first one tells of the capture log too."""
        if not bundle.has(BASELINE):
            return None
        if bundle.digest not in self._watches:
            self._watches[bundle.digest] = Watch(
                Sketch(Baseline.model_validate(bundle.json(BASELINE)), names),
                folder=windows.folder_of(self._folder, bundle.digest),
                replica=self._replica,
                window_s=self._watching.window_s,
                capture=dict if self._watches else self._capture,
                wake=self._wake.set,
            )
        return self._watches[bundle.digest]

    def flush(self) -> None:
        """Write what has been counted until now, as far as the disk lets it."""
        with self._flushing:
            for watch in list(self._watches.values()):
                watch.flush()
            if self.failing or self._noted:
                self._note.write(self.failing, self._capture().get("dropped", 0))
            self._noted = self.failing

    def refused(self) -> None:
        """Count a request that was refused for what it brought, before any version was asked."""
        for watch in list(self._watches.values())[:1]:
            watch.refused()

    def exposed(self, labels: Mapping[str, str]) -> bytes:
        """What all replicas have counted of the first version, as Prometheus reads it."""
        self.flush()
        digest, watch = next(iter(self._watches.items()))
        history = History(self._folder, digest)
        return exposition(watch.baseline, history, labels, failing=bool(self.failing))

    @property
    def failing(self) -> str:
        """Why counts cannot be written; empty when they can."""
        return next((watch.failing for watch in self._watches.values() if watch.failing), "")

    def close(self) -> None:
        """Write what has been counted, and end."""
        self._closing.set()
        self._wake.set()
        self._thread.join(30)
        self._note.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            self.flush()
            if self.failing:
                self._wake.set()
            self._closing.wait(self._watching.flush_s)
        self.flush()


class Watch:
    """Counts of one version, window by window."""

    def __init__(
        self,
        sketch: Sketch,
        *,
        folder: str,
        replica: str,
        window_s: int,
        capture: Callable[[], Mapping[str, int]] = dict,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._sketch, self._folder, self._replica, self._wake = sketch, folder, replica, wake
        self._window_s, self._capture = window_s, capture
        self._lock = threading.Lock()
        self._start, self._captured = self._now(), dict(capture())
        self._over: list[Window] = []
        self._written: Window | None = None
        self.failing = ""

    def seen(
        self,
        rows: np.ndarray,
        scores: Sequence[float],
        decisions: Sequence[str],
        events: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Count requests that the model has answered: see `Sketch.add`."""
        with self._turned() as sketch:
            sketch.add(rows, scores, decisions, events)

    def degraded(self, requests: int) -> None:
        """Count requests that were answered without the model."""
        with self._turned() as sketch:
            sketch.degrade(requests)

    def refused(self) -> None:
        """Count a request that was refused for what it brought."""
        with self._turned() as sketch:
            sketch.refuse(1)

    @property
    def baseline(self) -> Baseline:
        """What the counts compare with."""
        return self._sketch.baseline

    @contextmanager
    def _turned(self) -> Iterator[Sketch]:
        """The sketch of the window at hand, to be added to."""
        with self._lock:
            self._turn()
            yield self._sketch
        self._wake()

    def flush(self) -> None:
        """Write what has been counted until now; `failing` is what the disk said where that did not go."""
        with self._lock:
            self._turn()
            due, self._over = [*map(self._unread, self._over), self._window()], []
        failed = []
        for window in due:
            if any(window.counts) and window != self._written and not self._write(window):
                failed.append(window)
        with self._lock:
            late = [window for window in failed if window.start < self._start]
            self._over = [*map(self._rest, late), *self._over][-_MOST_KEPT:]

    def _write(self, window: Window) -> bool:
        try:
            windows.write(self._folder, window)
        except StorageError as error:
            if not self.failing:
                _LOG.error("requests are answered, but their counts cannot be written: %s", error)
            self.failing = str(error)
            return False
        self._written, self.failing = window, ""
        return True

    def _unread(self, window: Window) -> Window:
        """What is to be written of a window that is over. It is written within seconds, unless the clock was put forward: then it
        may have been judged by now."""
        return self._rest(window) if time.time() > window.end + _READ_AFTER_S else window

    def _rest(self, window: Window) -> Window:
        """What the file of a window that is over lacks, as a file of its own: the other one may have been read by now."""
        known = self._written
        if window.late or known is None or known.start != window.start:
            return window.model_copy(update={"late": 1})
        counts = [count - before for count, before in zip(window.counts, known.counts, strict=True)]
        capture = {name: count - known.capture.get(name, 0) for name, count in window.capture.items()}
        return window.model_copy(update={"late": 1, "counts": counts, "capture": capture})

    def _now(self) -> int:
        return int(time.time()) // self._window_s * self._window_s

    def _turn(self) -> None:
        """Begin another window where the last one is over."""
        now = self._now()
        if now <= self._start:  # a clock that was set back goes on in the window at hand
            return
        if self._sketch.counts.any():
            self._over.append(self._window())
        self._sketch.counts[:] = 0
        self._start, self._captured = now, dict(self._capture())

    def _window(self) -> Window:
        captured = {name: count - self._captured.get(name, 0) for name, count in self._capture().items()}
        return Window.model_construct(
            replica=self._replica,
            start=self._start,
            seconds=self._window_s,
            late=0,
            counts=self._sketch.counts.tolist(),
            capture=captured,
        )


@contextmanager
def counted(monitoring: str, digest: str, watching: Watching, seconds: float = 5.0) -> Iterator[None]:
    """Returns from a block that asks an endpoint when its monitoring has that question, or after so many seconds: what comes
    next in a run finds it counted, whenever it looks."""
    history = History(monitoring, digest)
    before = history.counted()
    yield
    deadline = time.monotonic() + seconds
    while watching.enabled and history.counted() == before and time.monotonic() < deadline:
        time.sleep(0.02)
