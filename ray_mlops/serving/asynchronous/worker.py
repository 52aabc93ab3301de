"""What a replica does besides answering: it works requests that wait, and keeps others from doing so while it is alive."""

import asyncio
import logging
import math
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from starlette.responses import Response

from ray_mlops.errors import DataError, StorageError
from ray_mlops.serving.asynchronous.queue import Queue
from ray_mlops.serving.asynchronous.records import Invocation, Lease
from ray_mlops.serving.asynchronous.sliced import Sliced, Stopped
from ray_mlops.serving.protocols import sagemaker
from ray_mlops.serving.protocols.asked import Asked
from ray_mlops.serving.redaction import redact
from ray_mlops.serving.schema import BadRequest

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_KEPT_HEADERS = ("x-degraded",)
_CLEAN_S = 60.0
_LATELY_S = 1.0
# How long a thread may keep others from running: those who wait for an answer wait for several turns of it.
_TURN_S = 0.0005
_AGAIN_S = 1.0  # doubled with every attempt


class Others:
    """Whether anybody is waiting for an answer at this time."""

    def __init__(self) -> None:
        self._last = -math.inf

    def came(self) -> None:
        """Note that somebody asks."""
        self._last = time.monotonic()

    def asking(self) -> bool:
        """Whether somebody has asked lately."""
        return time.monotonic() - self._last < _LATELY_S


class Worker:
    """Works the requests of a queue, `at_once` at a time, with an application; `settled` says when its log is written."""

    def __init__(self, queue: Queue, asked: Asked, settled: Callable[[], Awaitable[None]]) -> None:
        self.queue, self._asked, self._settled = queue, asked, settled
        self._limits = queue.limits
        # One for each request that is being worked, as that reads large bodies; those for files wait for disk or network.
        self._bodies = ThreadPoolExecutor(self._limits.at_once, thread_name_prefix="asynchronous")
        self._files = ThreadPoolExecutor(self._limits.max_uploads, thread_name_prefix="queue")
        self._came = asyncio.Event()
        self._working, self._usual_turn_s = 0, sys.getswitchinterval()
        self.others = Others()

    async def run(self) -> None:
        """Work until cancelled; what is being worked then is given up for others."""
        loops = [asyncio.create_task(self._work()) for _ in range(self._limits.at_once)]
        loops.append(asyncio.create_task(self._clean()))
        try:
            await asyncio.gather(*loops)
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            for pool in (self._bodies, self._files):
                pool.shutdown(wait=False, cancel_futures=True)

    def wake(self) -> None:
        """Say that a request has come."""
        self._came.set()

    async def file(self, work: Callable[..., T], *arguments: Any, **fields: Any) -> T:
        """What the queue does, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._files, lambda: work(*arguments, **fields))

    async def _work(self) -> None:
        while True:
            lease = None
            self._came.clear()
            with _noted("the queue cannot be read"):
                lease = await self.file(self.queue.claim)
            if lease is None:
                with suppress(TimeoutError):  # not all replicas look at the same moment
                    await asyncio.wait_for(self._came.wait(), self._limits.poll_s * random.uniform(0.75, 1.25))
                continue
            with _noted(f"request {lease.id} is left to its next attempt"):
                await self._attempt(lease)

    async def _clean(self) -> None:
        while True:
            with _noted("old requests stay for now"):
                await self.file(self.queue.clean)
            await asyncio.sleep(min(_CLEAN_S, self._limits.keep_s))

    async def _attempt(self, lease: Lease) -> None:
        renewing = asyncio.create_task(self._renew(lease))
        self._working += 1
        sys.setswitchinterval(_TURN_S)
        try:
            if found := await self.file(self.queue.read, lease.id):
                await self._try(lease, *found)
        except asyncio.CancelledError:
            self.queue.hand_back(lease)  # at once: the loop is about to end
            raise
        finally:
            self._working -= 1
            sys.setswitchinterval(_TURN_S if self._working else self._usual_turn_s)
            renewing.cancel()

    async def _try(self, lease: Lease, invocation: Invocation, body: bytes) -> None:
        try:
            response = await self._answer(invocation, body)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome or a reason to try again
            await self._failed(invocation, lease, error)
        else:
            kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            told = {"content_type": response.headers["content-type"], "headers": kept}
            await self.file(self.queue.settle, invocation, lease, bytes(response.body), **told)

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._limits.lease_s / 3)
            with _noted(f"the lease of request {lease.id} is not renewed"):
                await self.file(self.queue.renew, lease)

    async def _answer(self, invocation: Invocation, body: bytes) -> Response:
        given_up = False
        loop, rows = asyncio.get_running_loop(), self._limits.rows_at_once
        asked = Sliced(self._asked, loop, rows, self._settled, self.others.asking, lambda: given_up)

        def work() -> Response:
            kind, accept = invocation.content_type, invocation.accept
            return asyncio.run(sagemaker.invoked(asked, body, kind, accept=accept, request_id=invocation.id))

        waited = (datetime.now(UTC) - invocation.submitted).total_seconds()
        if invocation.keep_s and waited > invocation.keep_s:
            raise DataError(f"it has waited for longer than the {invocation.keep_s:g} s that it was given")
        if invocation.input:
            body = await self.file(self.queue.fetch, invocation.input)
        if len(body) > self._limits.max_body_bytes:
            raise DataError(f"the input is larger than {self._limits.max_body_bytes:,} bytes")
        seconds = min(self._limits.deadline_s, invocation.deadline_s or self._limits.deadline_s)
        try:
            async with asyncio.timeout(seconds):
                return await loop.run_in_executor(self._bodies, work)
        except TimeoutError:
            raise StorageError(f"no answer within {seconds:g} s") from None
        finally:
            given_up = True

    async def _failed(self, invocation: Invocation, lease: Lease, error: Exception) -> None:
        """End a request that nobody could answer; leave any other for another attempt, the last of which ends it."""
        status, reason = _told(error)
        if status < 500 or lease.attempt >= self._limits.max_attempts:
            tried = f"given up after {lease.attempt} attempts: " if status >= 500 else ""
            await self.file(self.queue.settle, invocation, lease, b"", status=status, reason=tried + reason)
            return
        _LOG.warning("attempt %d at request %s failed: %s", lease.attempt, lease.id, reason)
        await self.file(self.queue.release, lease, reason, wait_s=_AGAIN_S * 2 ** (lease.attempt - 1))


def _told(error: Exception) -> tuple[int, str]:
    if isinstance(error, BadRequest):
        return error.status, "; ".join(f"{one.field} {one.message}".strip() for one in error.problems)
    if isinstance(error, DataError):
        return 422, str(error)
    if isinstance(error, Stopped):
        return 503, "nobody waited for it any more"
    if isinstance(error, StorageError):
        return 503, str(error)
    return 500, redact(f"{type(error).__name__}: {error}")


@contextmanager
def _noted(meaning: str) -> Iterator[None]:
    """A block in which an error is a line of log, and nothing more."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        _LOG.warning("%s: %s", meaning, redact(f"{type(error).__name__}: {error}"))
