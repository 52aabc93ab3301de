"""A table cut by time: each worker reads the rows of one slice and as much history before it as the work looks back.

No row moves between workers, but the history before each slice is read and worked on once more. `plan_slices` says when
that is cheaper than bringing the rows together by key (`platform.exchange`): where slices are few, and long beside the
history.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ray_mlops.platform import tables

if TYPE_CHECKING:
    import ray.data

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

SliceWork = Callable[[pa.Table, np.ndarray], pa.Table]  # of rows, and which of them (bool) are not history

BINS = 4096
MOST_WAVES = 8  # slices that a worker takes one after the other
# Where reading a row and working on it costs 1; measured with count and mean over three spans for two entities.
SHUFFLE = 1.2  # a row through one shuffle
HISTORY = 0.3  # a row of history, whose windows are not asked for and of which nothing is written
HISTORY_MEMORY = 0.7  # of what another row takes in memory
READ = 0.1  # a row read in vain, where rows of all times lie side by side in each file
SHARE_OF_MEMORY = 0.6
ROWS_PER_BLOCK = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TimeSlice:
    """The rows at `start <= time < end`, and `since` when the work on them needs history; microseconds, UTC."""

    since: int
    start: int
    end: int


@dataclass(frozen=True)
class Histogram:
    """How many rows lie in each of some bins of `step` microseconds, the first from `begin` on."""

    begin: int
    step: int
    counts: Sequence[int]

    @classmethod
    def of(cls, times: Iterable[np.ndarray], begin: int, end: int) -> "Histogram":
        """Of the times at `begin <= time < end`, microseconds."""
        step = max(1, -(-(end - begin) // BINS))
        counts = np.zeros(-(-(end - begin) // step), np.int64)
        for some in times:
            inside = some[(some >= begin) & (some < end)]
            counts += np.bincount((inside - begin) // step, minlength=len(counts))
        return cls(begin, step, counts.tolist())


@dataclass(frozen=True)
class Room:
    """What there is to work with: `workers` at once, each with memory for so many `rows` and their features."""

    workers: int
    rows: int

    @classmethod
    def of_cluster(cls, row_bytes: int) -> "Room":
        """What the cluster has; `row_bytes` is what the work on a row takes."""
        import ray
        from ray.data import DataContext

        cluster = ray.cluster_resources()
        limit = DataContext.get_current().execution_options.resource_limits.cpu
        workers = max(1, int(min(cluster.get("CPU", 1), limit or math.inf)))
        return cls(workers, int(SHARE_OF_MEMORY * cluster.get("memory", 0) / workers / row_bytes))


def plan_slices(histogram: Histogram, start: int, reach: int, room: Room, *, shuffles: int) -> list[TimeSlice]:
    """The slices of the rows from `start` to the end of the histogram, about the same work in each; none where the
    exchange with its `shuffles` takes less time or where a slice with the `reach` (microseconds) before it would not fit.
    """
    total = sum(histogram.counts)
    best, least = [], (1 + SHUFFLE * shuffles) * total / room.workers
    for waves in range(1, MOST_WAVES + 1):
        rows, borders = _balanced(histogram, start, reach, waves * room.workers, room.rows)
        cost = waves * (rows + READ * total)
        if borders and cost < least:
            best, least = borders, cost
    return [TimeSlice(start - reach, start, end) for start, end in pairwise(best)]


def _balanced(histogram: Histogram, start: int, reach: int, most: int, room: int) -> tuple[int, list[int]]:
    """The borders of at most so many slices with the least work in the largest of them, in rows; none where one of
    them would need more room."""
    low, high = 0, math.ceil((1 + HISTORY) * sum(histogram.counts))  # all rows, with all others as their history
    best = _greedy(histogram, start, reach, high, room)
    if len(best) - 1 > most:
        return high, []
    while best and high - low > 1 + high // 1000:
        middle = (low + high) // 2
        borders = _greedy(histogram, start, reach, middle, room)
        if borders and len(borders) - 1 <= most:
            high, best = middle, borders
        else:
            low = middle
    return high, best


def _greedy(histogram: Histogram, start: int, reach: int, rows: int, room: int) -> list[int]:
    """The borders of slices as long as they can be with the work of so many rows, in that room; none where one bin and
    its history is more."""
    begin, step = histogram.begin, histogram.step
    before = [0, *accumulate(histogram.counts)]
    place, borders = max(0, (start - begin) // step), [start]
    while place < len(histogram.counts):
        history = before[place] - before[max(0, place - -(-reach // step))]
        most = min(rows - HISTORY * history, room - HISTORY_MEMORY * history)
        following = bisect_right(before, before[place] + most) - 1
        if following <= place:
            return []
        place = following
        borders.append(begin + place * step)
    return borders


def sliced(
    paths: Sequence[str], columns: Sequence[str], time: str, slices: Sequence[TimeSlice], work: SliceWork
) -> "ray.data.Dataset":
    """Some columns of the rows of Parquet files after the work, which sees the history of each slice and leaves it out."""
    import ray.data

    numbers = ray.data.range(len(slices), override_num_blocks=len(slices))
    one = partial(_work_on, paths=paths, columns=columns, time=time, slices=slices, work=work)
    return numbers.map_batches(one, batch_size=None, batch_format="pyarrow")


def _work_on(
    numbers: pa.Table,
    *,
    paths: Sequence[str],
    columns: Sequence[str],
    time: str,
    slices: Sequence[TimeSlice],
    work: SliceWork,
) -> Iterator[pa.Table]:
    for number in numbers.column("id").to_pylist():
        chosen = slices[number]
        since, start, end = map(_instant, (chosen.since, chosen.start, chosen.end))
        seen = (pc.field(time) >= since) & (pc.field(time) < end)
        rows = tables.opened(paths).to_table(columns=list(columns), filter=seen)
        rows = work(rows, pc.greater_equal(rows[time], start).to_numpy())
        for place in range(0, rows.num_rows, ROWS_PER_BLOCK):
            yield rows.slice(place, ROWS_PER_BLOCK)


def _instant(at: int) -> pa.Scalar:
    return pa.scalar(EPOCH + timedelta(microseconds=at), pa.timestamp("us", tz="UTC"))
