"""An application asked from another thread, a few rows at a time, so that its other callers are answered in between."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar

import numpy as np

from ray_mlops.contract import ColumnType
from ray_mlops.serving.protocols.asked import Asked, Bounds, Columns, Output

T = TypeVar("T")


class Stopped(Exception):
    """Nobody waits for the rest of the answers."""


@dataclass(frozen=True)
class Sliced:
    """`protocols.asked.Asked` as `asked` is, for use outside of its event `loop`: bodies are read and answers written where
    it is used, `rows` at a time are answered in the loop, and the next when `settled` says that their log is written; while
    `others` are asking, after a pause as long. Raises `Stopped` once `stopped` says so."""

    asked: Asked
    loop: asyncio.AbstractEventLoop
    rows: int
    settled: Callable[[], Awaitable[None]]
    others: Callable[[], bool]
    stopped: Callable[[], bool]

    @property
    def name(self) -> str:
        return self.asked.name

    @property
    def version(self) -> Mapping[str, str]:
        return self.asked.version

    @property
    def limits(self) -> Bounds:
        return self.asked.limits

    @property
    def columns(self) -> Mapping[str, ColumnType | Literal["image"]]:
        return self.asked.columns

    @property
    def outputs(self) -> Sequence[Output]:
        return self.asked.outputs

    @property
    def example(self) -> Mapping[str, Any]:
        return self.asked.example

    async def read(self, body: bytes, content_type: str | None) -> tuple[Any, bool]:
        return await self.asked.read(body, content_type)

    def check(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        return self.asked.check(rows)

    async def answer(self, questions: Any, *, request_id: str, detail: int | None = None) -> list[dict[str, Any]]:
        parts = [
            await self._there(self.asked.answer(part, request_id=request_id, detail=detail))
            for part in _parts(questions, self.rows)
        ]
        return [answer for part in parts for answer in part]

    async def tensors(self, questions: Any, *, request_id: str) -> Columns:
        parts = [
            await self._there(self.asked.tensors(part, request_id=request_id)) for part in _parts(questions, self.rows)
        ]
        names = parts[0].values
        return Columns({name: np.concatenate([part.values[name] for part in parts]) for name in names})

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        if self.stopped():
            work.close()
            raise Stopped
        start = time.perf_counter()
        answered = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._logged(work), self.loop))
        if self.others():
            await asyncio.sleep(time.perf_counter() - start)
        return answered

    async def _logged(self, work: Coroutine[Any, Any, T]) -> T:
        answered = await work
        await self.settled()
        return answered


def _parts(questions: Any, size: int) -> Iterator[Any]:
    """A sequence of rows, or pictures by their field, in parts of `size`."""
    if not isinstance(questions, Mapping):
        yield from (questions[start : start + size] for start in range(0, len(questions), size))
        return
    remaining = iter(questions.items())
    while part := dict(islice(remaining, size)):
        yield part
