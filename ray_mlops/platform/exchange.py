"""Rows brought together by key across a cluster, and worked on there: the shuffles under the windows.

Rows are dealt into partitions by the hash of their keys, one object a partition; a task puts a partition together, works
on it and, where another key follows, deals it again before it lets go. Ray Data reads before and writes after.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import ray.data

DEALT_BYTES = 64 << 20  # at a time: with fewer, a large table becomes too many small objects

Keys = Sequence[str]
Work = Callable[[pa.Table], pa.Table]
Shards = list[Any]  # references to tables


def exchanged(rows: "ray.data.Dataset", steps: Sequence[tuple[Keys, Work]], partitions: int) -> "ray.data.Dataset":
    """The rows after some steps. In a step, rows with equal keys come together in one of the partitions (at least two),
    and each partition, also an empty one, is replaced by what the work makes of it.

    All work but the last is done at once, the last when the data set is read. Ray Data's `repartition(keys=...)` does
    the same with a task of its own to read, to deal, and to put together, and twice the copies.
    """
    import ray.data

    keys, work = steps[0]
    dealt = _collect(_deal_blocks(rows, keys, partitions))
    for following, next_work in steps[1:]:
        dealt = _collect(_deal_partitions(dealt, work, following))
        work = next_work
    gather = partial(_gather, [ray.put(shards) for shards in dealt], work)
    numbers = ray.data.range(partitions, override_num_blocks=partitions)
    return numbers.map_batches(gather, batch_size=None, batch_format="pyarrow")


def deal(work: Work | None, keys: Keys, partitions: int, *shards: pa.Table) -> Iterator[list[int] | pa.Table]:
    """How many rows each partition gets, then the partitions, of what the work makes of the shards together."""
    table = pa.concat_tables(shards).combine_chunks()
    table = table if work is None else work(table)
    numbers = _numbers(table, keys, partitions)
    counts = np.bincount(numbers, minlength=partitions).tolist()
    yield counts
    table = table.take(pa.array(np.argsort(numbers, kind="stable")))
    start = 0
    for count in counts:
        yield table.slice(start, count)
        start += count


def _numbers(table: pa.Table, keys: Keys, partitions: int) -> np.ndarray:
    """The partition of each row, the same in every process; numbers of one or two bytes, which sort fast."""
    import polars

    hashes = polars.DataFrame(table.select(list(keys))).hash_rows(seed=0)
    return (hashes % partitions).to_numpy().astype(np.min_scalar_type(partitions))


def _deal_blocks(rows: "ray.data.Dataset", keys: Keys, partitions: int) -> Iterator[Shards]:
    """Deal the blocks of a data set while it is being computed."""
    blocks: Shards = []
    size = 0
    for bundle in rows.iter_internal_ref_bundles():
        blocks += bundle.block_refs
        size += sum(block.size_bytes or 0 for block in bundle.metadata)
        if size >= DEALT_BYTES:
            yield _submit(None, keys, partitions, blocks)
            blocks, size = [], 0
    if blocks:
        yield _submit(None, keys, partitions, blocks)


def _deal_partitions(dealt: list[Shards], work: Work, keys: Keys) -> Iterator[Shards]:
    partitions = len(dealt)
    while dealt:  # the task alone holds on to its shards: they are gone when it is done
        yield _submit(work, keys, partitions, dealt.pop(0))


def _submit(work: Work | None, keys: Keys, partitions: int, shards: Shards) -> Shards:
    import ray

    task: Any = ray.remote(deal).options(num_returns=1 + partitions, scheduling_strategy="SPREAD")
    return task.remote(work, keys, partitions, *shards)


def _collect(submitted: Iterator[Shards]) -> list[Shards]:
    """The shards of each partition when all have been dealt; the largest partition first, since it takes longest."""
    import ray

    found = list(submitted)
    rows = np.sum(ray.get([counts for counts, *_ in found]), axis=0)
    shards = [list(refs) for refs in zip(*(refs for _, *refs in found), strict=True)]
    return [shards[number] for number in np.argsort(-rows, kind="stable").tolist()]


def _gather(dealt: Shards, work: Work, numbers: pa.Table) -> Iterator[pa.Table]:
    """The partitions of these numbers after the work."""
    import ray

    for number in numbers.column("id").to_pylist():
        yield work(pa.concat_tables(ray.get(ray.get(dealt[number]))).combine_chunks())
