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

    def __init__(self, folder: str, prefix: str, queueing: Queueing | None = None) -> None:
        self._folder, self._name = Path(folder), f"{prefix}-{uuid.uuid4().hex[:12]}"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._queueing = queueing or Queueing()
        self.written = self.dropped = self.late = 0
        self._lock = threading.Lock()
        self._queue: list[bytes] = []
        self._accepted = self._done = 0  # numbers of lines
        self._batch: _Batch | None = None  # takes in who comes to wait
        self._waiting: list[_Batch] = []
        self._stuck = self._closing = False
        self._asleep = threading.Lock()  # held; an event would cost four times as much
        self._asleep.acquire()
        self._segments = 0
        self._open()
        self._thread = threading.Thread(target=self._run, name=f"append to {prefix}", daemon=True)
        self._thread.start()

    def write(self, lines: Sequence[bytes]) -> None:
        """Have lines appended, each ending in a newline, all or none: soon, or at once when somebody waits for it."""
        with self._lock:
            if self._closing or len(self._queue) + len(lines) > self._queueing.max_queued:
                self.dropped += len(lines)
                return
            self._queue.extend(lines)
            self._accepted += len(lines)

    async def settled(self, seconds: float = WAIT_S) -> None:
        """Returns when all lines brought so far are with the operating system, or have been dropped.

        Where that takes longer the disk is stuck: this caller goes on, and others do not wait at all until it works again.
        Whoever comes in the same turn of the event loop waits for the same system call.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._done >= self._accepted:
                return
            if self._stuck:
                self.late += 1
                return
            batch = self._batch
            if batch is None or batch.loop is not loop:
                batch = self._batch = _Batch(loop)
                loop.call_soon(self._hand_over, batch, seconds)
            future = batch.join()
        if not await future:
            self.late, self._stuck = self.late + 1, True

    def _hand_over(self, batch: "_Batch", seconds: float) -> None:
        batch.expire(seconds)
        with self._lock:
            batch.lines = self._accepted
            self._waiting.append(batch)
            if self._batch is batch:
                self._batch = None
        self._wake()

    def _wake(self) -> None:
        try:
            self._asleep.release()
        except RuntimeError:  # it is awake
            pass

    def flush(self, seconds: float = 10.0) -> bool:
        """Whether all lines brought so far have been dealt with in time; for callers without an event loop."""
        target, deadline = self._accepted, time.monotonic() + seconds
        self._wake()
        while self._done < target and time.monotonic() < deadline:
            time.sleep(0.001)
        return self._done >= target

    def close(self) -> None:
        """Append what waits, and give the segment back; what is brought afterwards is dropped."""
        with self._lock:
            self._closing = True
        self._wake()
        self._thread.join(30)

    def _run(self) -> None:
        while not (self._closing and not self._queue):
            self._asleep.acquire(timeout=PAUSE_S)
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
            ready = [batch for batch in self._waiting if batch.lines <= self._done]
            self._waiting = [batch for batch in self._waiting if batch.lines > self._done]
        for batch in ready:
            try:
                batch.loop.call_soon_threadsafe(batch.tell, True)
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


class _Batch:
    """Those who wait, in one event loop, for the same `lines` and all before them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.lines = loop, 0
        self._futures: list[asyncio.Future[bool]] = []
        self._timer: asyncio.TimerHandle | None = None

    def join(self) -> "asyncio.Future[bool]":
        future = self.loop.create_future()
        self._futures.append(future)
        return future

    def expire(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self.tell, False)

    def tell(self, settled: bool) -> None:
        if self._timer:
            self._timer.cancel()
        for future in self._futures:
            if not future.done():
                future.set_result(settled)
