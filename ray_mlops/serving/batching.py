"""Requests that meet at a replica are answered in one call of the model: what came while it was busy is the next batch.

Nobody waits for a batch to fill: an idle model takes a single request at once, a busy one finds all that has queued up.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Calls `work` in a thread of its own with up to `most` items; `work` gives an answer an item, in their order.

    An error of `work` is the answer to every item of its batch. `sizes` counts the items of each call.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Answer]], *, most: int) -> None:
        self._work, self._most = work, most
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._runner: asyncio.Task[None] | None = None
        self.sizes: list[int] = []

    async def ask(self, items: Sequence[Item]) -> list[Answer]:
        """The answers to some items, which may share a batch with those of others."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        if self._runner is None or self._runner.done():
            self._runner = loop.create_task(self._run())
        try:
            return list(await asyncio.gather(*futures))
        finally:
            for future in futures:  # who gave up is not worked for any more
                future.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            self.sizes.append(len(batch))
            try:
                answers = await loop.run_in_executor(self._thread, self._work, [item for item, _ in batch])
            except Exception as error:  # noqa: BLE001 - it belongs to those who asked
                for _, future in batch:
                    _settle(future, error=error)
            else:
                for (_, future), found in zip(batch, answers, strict=True):
                    _settle(future, found)

    def _next(self) -> list[tuple[Item, "asyncio.Future[Answer]"]]:
        batch = []
        while self._waiting and len(batch) < self._most:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch


def _settle(future: "asyncio.Future[Answer]", found: Answer | None = None, *, error: Exception | None = None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(found)  # pyright: ignore[reportArgumentType]
