"""The side process of a replica: it has both models, answers copies of requests with both, and compares.

It is a process of the lowest priority and not a thread, so that neither the interpreter's lock nor a crash, a leak or a loop
of the challenger's touches who answers callers. Requests wait for nothing here: what finds no room is dropped and counted.
"""

import os
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO, Any

import orjson
from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving.rollouts.plan import Mode
from ray_mlops.serving.rollouts.tally import Tally

MOST_WAITING = 256
MOST_BYTES = 2_000_000  # of one request: larger ones would fill the memory while they wait
_END_S = 2.0


class Setting(Frozen):
    """What Serve hands every replica as its user config: step `step` of a rollout; without a `digest` there is no challenger."""

    rollout: str = ""
    step: int = 0
    mode: Mode = "canary"
    share: float = Field(default=0.0, ge=0, le=1)
    bundle: str = ""
    digest: str = ""
    version: str = ""


class Job(Frozen):
    """What a side process compares: bundles by place and digest, of transactions or of images."""

    family: str
    champion: tuple[str, str]
    challenger: tuple[str, str]


def comparison(family: str, champion: Bundle, setting: Setting) -> Job:
    """What the side process of a rollout compares."""
    return Job(family=family, champion=(champion.uri, champion.digest), challenger=(setting.bundle, setting.digest))


class Beside:
    """A side process, seen from its replica. `problem` says why it does not work (any more); `reading` is what makes parts of a
    request, if something does."""

    def __init__(self, job: Job, *, reading: Any = None, most_waiting: int = MOST_WAITING) -> None:
        self.reading = reading
        self._queue: queue.Queue[Callable[[], Sequence[bytes]] | None] = queue.Queue(most_waiting)
        self._copied = self._dropped = 0
        self._counted = Tally()
        self.ready, self.problem, self._closing = False, "", False
        command = [sys.executable, "-m", "ray_mlops.serving.rollouts.side", job.model_dump_json()]
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        for work in (self._feed, self._listen):
            threading.Thread(target=work, name=f"beside {work.__name__}", daemon=True).start()

    def offer(self, copy: Callable[[], Sequence[bytes]], *, size: int = 0) -> None:
        """Have a request of `size` bytes compared, if there is room; `copy` makes the parts that the side process reads, and is
        called in another thread. From one thread at a time."""
        if self.problem:
            return
        if size > MOST_BYTES:
            self._dropped += 1
            return
        try:
            self._queue.put_nowait(copy)
            self._copied += 1
        except queue.Full:
            self._dropped += 1

    @property
    def tally(self) -> Tally:
        """All that was compared."""
        return self._counted.model_copy(update={"copied": self._copied, "dropped": self._dropped})

    def since(self, earlier: Tally) -> Tally:
        """What was compared since an earlier tally."""
        return self.tally.minus(earlier)

    def close(self) -> None:
        """End the process, which nobody waits for."""
        self._closing = True
        self._process.kill()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return

    def _feed(self) -> None:
        pipe = self._process.stdin
        assert pipe
        while not self._closing and (copy := self._queue.get()) is not None:
            try:
                write_frame(pipe, copy())
            except OSError:
                return  # who listens says why
            except Exception as error:  # noqa: BLE001 - the challenger cannot make anything of what the champion answers
                self.problem = f"the challenger cannot read a request: {type(error).__name__}: {error}"
                return

    def _listen(self) -> None:
        pipe = self._process.stdout
        assert pipe
        for line in pipe:
            told = orjson.loads(line)
            self.ready, self.problem = True, told.get("problem", "")
            if "tally" in told:
                self._counted = Tally.model_validate(told["tally"])
        code = self._process.wait()
        if not self._closing and not self.problem:
            self.problem = f"the side process that compares both versions ended with code {code}"


def write_frame(pipe: IO[bytes], parts: Sequence[bytes]) -> None:
    """Write some parts, with their lengths before them."""
    pipe.write(struct.pack(f"<{1 + len(parts)}I", len(parts), *map(len, parts)) + b"".join(parts))
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> list[bytes] | None:
    """The parts of the next frame; None at the end."""
    head = pipe.read(4)
    if len(head) < 4:
        return None
    lengths = struct.unpack(f"<{(count := struct.unpack('<I', head)[0])}I", pipe.read(4 * count))
    return [pipe.read(length) for length in lengths]
