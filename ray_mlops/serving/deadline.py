"""An answer in time: the one that was worked for, or the one that needs no work."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ray_mlops.errors import StorageError

T = TypeVar("T")


class Turn:
    """Which of two answers to a request counts, and is logged: the one that takes its turn first."""

    def __init__(self) -> None:
        self._taken = threading.Lock()

    def take(self) -> bool:
        """Whether nobody had taken it; from any thread."""
        return self._taken.acquire(blocking=False)


async def in_time(work: "asyncio.Future[T]", instead: Callable[[], T] | None, turn: Turn, seconds: float) -> T:
    """The result of some work, or of `instead` where that has not come within `seconds` or the database has failed.

    Work that has not begun is called off, work that goes on must find its turn taken. Raises `StorageError` (503) where
    there is nothing to say instead.
    """
    work.add_done_callback(_seen)
    try:
        return await asyncio.wait_for(asyncio.shield(work), seconds)
    except TimeoutError:
        error = StorageError(f"no answer within {seconds:g} s")
    except StorageError as failed:
        error = failed
    if not turn.take():  # it came after all, and is being logged at this moment
        return await work
    work.cancel()
    if instead is None:
        raise error
    return instead()


def _seen(work: "asyncio.Future[Any]") -> None:
    """Nobody may be there any more to hear of an error."""
    if not work.cancelled():
        work.exception()
