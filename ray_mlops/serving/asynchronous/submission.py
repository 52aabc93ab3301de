"""How a request comes into a queue, whatever it was asked in, and who may ask for what became of it."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import Request

from ray_mlops.contract.names import REQUEST
from ray_mlops.errors import StorageError
from ray_mlops.serving.asynchronous.records import Invocation, Outcome, State
from ray_mlops.serving.asynchronous.worker import Worker
from ray_mlops.serving.edge import body_of, refused


class Reception:
    """Takes requests in for a worker, a bounded number of bodies at once."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.queue, self.limits = worker, worker.queue, worker.queue.limits
        self._taking = 0

    async def submit(self, request: Request, name: str | None, **asked: Any) -> State:
        """Keep a request under an id, one made up without; its state, also where it was sent before.

        `asked` are fields of `Invocation`; without an `input` the body is what is asked. Raises `BadRequest`: 409 where
        the id is that of a different request, 413 and 408 for the body, 422 for an id that is none; `StorageError` where
        too many wait.
        """
        if name is not None and not REQUEST.allows(name):
            raise refused(422, REQUEST.rule, "id")
        if await self.worker.file(self.queue.full):
            raise StorageError(f"{self.limits.max_pending:,} requests are waiting, as many as may: try again later")
        async with self._room():
            bounds = {"most_bytes": self.limits.max_body_bytes, "seconds": self.limits.body_s}
            body = b"" if asked.get("input") else await body_of(request, **bounds)
            invocation = Invocation(
                id=name or uuid.uuid4().hex,
                digest=_digest(body, asked),
                submitted=datetime.now(UTC),
                owner=_holder(request),
                **asked,
            )
            state = await self.worker.file(self.queue.submit, invocation, body)
        if (state.digest, state.owner) != (invocation.digest, invocation.owner):
            raise refused(409, f"{invocation.id!r} is the id of a different request: send another one", "id")
        self.worker.wake()
        return state

    async def state(self, request: Request) -> State:
        """Where the request is whose id is in the path; raises `BadRequest` 404."""
        name = request.path_params["id"]
        state = await self.worker.file(self.queue.state, name) if REQUEST.allows(name) else None
        if state is None or state.owner != _holder(request):
            raise refused(404, f"no request {name[:128]!r} is here: there was none with this key, or it is too old")
        return state

    async def result(self, state: State) -> tuple[Outcome, bytes]:
        """How a request ended, and its answer; raises `BadRequest` 404 when that has gone this moment."""
        found = await self.worker.file(self.queue.result, state.id)
        if found is None:
            raise refused(404, f"the result of {state.id!r} is too old")
        return found

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        if self._taking >= self.limits.max_uploads:
            raise StorageError(
                f"this replica is taking {self._taking} bodies in, as many as it does at once: try again"
            )
        self._taking += 1
        try:
            yield
        finally:
            self._taking -= 1


def _holder(request: Request) -> str | None:
    """The name of the key that a request was sent with; it stays when a key is rotated."""
    return getattr(request.state, "key", None)


def _digest(body: bytes, asked: dict[str, Any]) -> str:
    told = repr(sorted(asked.items())).encode()
    return hashlib.blake2b(body, digest_size=16, key=hashlib.blake2b(told, digest_size=32).digest()).hexdigest()
