"""Requests that meet are answered together, nobody waits for others, and errors go to those who asked."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from ray_mlops.serving.batching import Batcher


def test_what_came_while_the_model_was_busy_is_the_next_batch() -> None:
    gate, begun = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        begun.set()
        gate.wait(5)
        return [item * 10 for item in items]

    async def ask() -> tuple[list[list[int]], list[int]]:
        batcher = Batcher(work, most=3)
        first = asyncio.create_task(batcher.ask([0]))
        await asyncio.to_thread(begun.wait, 5)
        others = [asyncio.create_task(batcher.ask(asked)) for asked in ([1, 2], [3], [4, 5])]
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(first, *others), batcher.sizes

    answers, sizes = asyncio.run(ask())
    assert answers == [[0], [10, 20], [30], [40, 50]]
    assert sizes == [1, 3, 2]


def test_an_error_is_the_answer_to_its_batch_and_the_next_one_is_served() -> None:
    def work(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ValueError("unlucky")
        return list(items)

    async def ask() -> list[int]:
        batcher = Batcher(work, most=8)
        with pytest.raises(ValueError, match="unlucky"):
            await batcher.ask([13, 1])
        return await batcher.ask([2, 3])

    assert asyncio.run(ask()) == [2, 3]


def test_who_gave_up_is_not_worked_for() -> None:
    seen: list[int] = []
    gate, begun = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        seen.extend(items)
        begun.set()
        gate.wait(5)
        return list(items)

    async def ask() -> list[int]:
        batcher = Batcher(work, most=1)
        first = asyncio.create_task(batcher.ask([1]))
        await asyncio.to_thread(begun.wait, 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.ask([2]), 0.05)
        gate.set()
        await first
        return await batcher.ask([3])

    assert asyncio.run(ask()) == [3]
    assert seen == [1, 3]
