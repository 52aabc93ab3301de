"""Lines on their way to disk: a bounded queue, and a thread that appends what is in it, several lines in one system call.

Who brings lines never waits for the disk; who must know that they are with the operating system, which keeps them when the
process is killed, waits for `settled`.
"""

import asyncio
import fcntl
import os
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from ray_mlops.contract import Frozen

PAUSE_S = 0.2
WAIT_S = 0.25  # an answer waits no longer for a disk that is stuck


class Queueing(Frozen):
    """Bounds of a log: lines that wait for the disk (more are dropped), and when a segment is closed and the next begun."""

    max_queued: int = Field(default=20_000, ge=1)
    segment_bytes: int = Field(default=64 << 20, gt=0)
    segment_s: float = Field(default=3600.0, gt=0)


class Appender:
    """Appends to segments `<folder>/<prefix>-<unique>-<number>.jsonl`; `folder` is local, made when needed, and its owner's.

    A segment is locked while it is written to, so that everybody can tell a closed one, also where the writer was killed.
    `dropped` counts lines that found no room, in the queue or on the disk; `late` answers that did not wait for theirs.
    """

    def __init__(self, folder: str, prefix: str, queueing: Queueing | None = None, *, eager: bool = True) -> None:
        self._folder, self._name = Path(folder), f"{prefix}-{uuid.uuid4().hex[:12]}"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._queueing, self._eager = queueing or Queueing(), eager
        self.written = self.dropped = self.late = 0
        self._lock = threading.Lock()
        self._queue: list[bytes] = []
        self._accepted = self._done = 0  # numbers of lines
        self._waiting: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[bool]]] = []
        self._stuck = self._closing = False
        self._wake = threading.Event()
        self._segments = 0
        self._open()
        self._thread = threading.Thread(target=self._run, name=f"append to {prefix}", daemon=True)
        self._thread.start()

    def write(self, lines: Sequence[bytes]) -> None:
        """Have lines appended, each ending in a newline, all or none."""
        with self._lock:
            if self._closing or len(self._queue) + len(lines) > self._queueing.max_queued:
                self.dropped += len(lines)
                return
            self._queue.extend(lines)
            self._accepted += len(lines)
        if self._eager:
            self._wake.set()

    async def settled(self, seconds: float = WAIT_S) -> None:
        """Returns when all lines brought so far are with the operating system, or have been dropped.

        Where that takes longer the disk is stuck: this caller goes on, and others do not wait at all until it works again.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._done >= self._accepted:
                return
            if self._stuck:
                self.late += 1
                return
            future = loop.create_future()
            self._waiting.append((self._accepted, loop, future))
        self._wake.set()
        timer = loop.call_later(seconds, _tell, [future], False)
        if not await future:
            self.late, self._stuck = self.late + 1, True
        timer.cancel()

    def flush(self, seconds: float = 10.0) -> bool:
        """Whether all lines brought so far have been dealt with in time; for callers without an event loop."""
        target, deadline = self._accepted, time.monotonic() + seconds
        self._wake.set()
        while self._done < target and time.monotonic() < deadline:
            time.sleep(0.001)
        return self._done >= target

    def close(self) -> None:
        """Append what waits, and give the segment back; what is brought afterwards is dropped."""
        with self._lock:
            self._closing = True
        self._wake.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not (self._closing and not self._queue):
            self._wake.wait(PAUSE_S)
            self._wake.clear()
            self._drain()
        os.close(self._file)

    def _drain(self) -> None:
        with self._lock:
            lines, self._queue = self._queue, []
        if lines:
            if self._size >= self._queueing.segment_bytes or time.monotonic() > self._until:
                self._next()
            self._append(lines)
        with self._lock:
            self._done += len(lines)
            self._stuck = False
            ready = [each for each in self._waiting if each[0] <= self._done]
            self._waiting = [each for each in self._waiting if each[0] > self._done]
        for loop in {each[1] for each in ready}:
            try:
                loop.call_soon_threadsafe(_tell, [each[2] for each in ready if each[1] is loop], True)
            except RuntimeError:  # its loop has ended, and nobody waits any more
                continue

    def _append(self, lines: Sequence[bytes]) -> None:
        content, taken = b"".join(lines), 0
        try:
            taken = os.write(self._file, content)
            if taken < len(content):  # a disk that fills up takes a part: end it, so that the next line is whole
                os.write(self._file, b"\n")
        except OSError:
            pass  # it is counted
        self._size += taken
        whole = len(lines) if taken == len(content) else content.count(b"\n", 0, taken)
        self.written, self.dropped = self.written + whole, self.dropped + len(lines) - whole

    def _next(self) -> None:
        """Begin another segment; where that fails the last one goes on."""
        last = self._file
        try:
            self._open()
        except OSError:
            return
        os.close(last)

    def _open(self) -> None:
        name = f"{self._name}-{self._segments:04d}.jsonl"
        hidden, path = self._folder / f".{name}", self._folder / name
        file = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        hidden.rename(path)  # it is never there without its lock
        self.path, self._file, self._size = path, file, 0
        self._segments, self._until = self._segments + 1, time.monotonic() + self._queueing.segment_s


def _tell(futures: "Sequence[asyncio.Future[bool]]", settled: bool) -> None:
    for future in futures:
        if not future.done():
            future.set_result(settled)
