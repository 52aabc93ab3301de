"""The windows of all events of a table at once: the batch twin of the online executor.

Rows are dealt into parts small enough for the cache, each with whole entities, and the parts are worked on by threads.
A feature depends on the events of its entity only, so neither parts nor threads nor the order of rows change a bit.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import pyarrow as pa

from ray_mlops.fraud.event_columns import Arrival, Columns, encode_entities
from ray_mlops.fraud.windows import Window

ROWS_PER_PART = 1 << 15  # the columns of a part then fit into the second-level cache of one core
Precision = type[np.float64] | type[np.float32]
MAX_PARTS = 512  # with more of them the places that rows are dealt to no longer stay in cache


@dataclass(frozen=True)
class Output:
    """What comes out: the features of the `wanted` rows only (bool a row; None is all), rounded once to `precision`."""

    precision: Precision = np.float64
    wanted: np.ndarray | None = None

    def rows(self, table: pa.Table) -> pa.Table:
        """The rows wanted of a table, not copied where they are its last ones."""
        if self.wanted is None:
            return table
        first = int(np.argmax(self.wanted)) if len(self.wanted) else 0
        return table.slice(first) if self.wanted[first:].all() else table.filter(pa.array(self.wanted))


DOUBLE = Output()


def roll(
    windows: Sequence[Window],
    table: pa.Table,
    *,
    key: str,
    time: str,
    arrival: Arrival,
    threads: int = 1,
    output: Output = DOUBLE,
) -> dict[str, np.ndarray]:
    """The features of every row, or of those wanted, in the order of the rows, by name; computed in double precision.

    `table` holds, in any order, all events of each of its entities as far back as the windows reach.
    """
    columns = Columns.of(windows, table, key=key, time=time, arrival=arrival)
    features: dict[str, np.ndarray] = {}
    for entities in dict.fromkeys(window.entities for window in windows):
        own = [window for window in windows if window.entities == entities]
        codes, groups = encode_entities([table[name] for name in entities])
        blocks = roll_entity(own, columns.read_by(own), (codes, groups), threads=threads, output=output)
        features.update(zip((name for window in own for name in window.names()), blocks, strict=True))
    return features


def roll_entity(
    windows: Sequence[Window],
    columns: Columns,
    entity: tuple[np.ndarray, int],
    *,
    threads: int,
    output: Output = DOUBLE,
) -> list[np.ndarray]:
    """The features of windows over one entity: (codes, groups), a code below `groups` a row, or equal to it where the
    row has none."""
    from ray_mlops.fraud import window_order as order
    from ray_mlops.fraud.window_part import Part

    codes, groups = entity
    deal = _Deal.of(codes, groups)
    dealt_codes, dealt = deal.deal(codes), columns.mapped(deal.deal)
    out, dealt_wanted = deal, None
    if output.wanted is not None:
        out, dealt_wanted = deal.like(codes[output.wanted]), deal.deal(output.wanted)
    outputs = [np.empty(len(out.codes), output.precision) for window in windows for _ in window.names()]

    def work(number: int) -> None:
        where, first, count = deal.part(number)
        rows, starts = order.group_rows(dealt_codes[where], first, count)
        wanted = None if dealt_wanted is None else dealt_wanted[where]
        part = Part.of(dealt.mapped(lambda column: column[where]), rows, starts, wanted)
        features = (column for window in windows for column in part.features(window))
        for target, column in zip(outputs, features, strict=True):
            order.put(target[out.part(number)[0]], part.places, column)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, out.parts()))
        return list(pool.map(_Collector(out, threads, output.precision), outputs))


@dataclass(frozen=True)
class _Deal:
    """Which part each row belongs to: the parts are ranges of entity codes, `1 << shift` codes each."""

    codes: np.ndarray
    groups: int
    shift: int
    begins: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, groups: int) -> "_Deal":
        parts = max(1, min(MAX_PARTS, len(codes) // ROWS_PER_PART))
        return cls._by(codes, groups, (groups // parts).bit_length())

    @classmethod
    def _by(cls, codes: np.ndarray, groups: int, shift: int) -> "_Deal":
        from ray_mlops.fraud import window_order as order

        sizes = order.part_sizes(codes, shift, (groups >> shift) + 1)
        return cls(codes, groups, shift, np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes))))

    def like(self, codes: np.ndarray) -> "_Deal":
        """Other rows dealt to the same parts."""
        return self._by(codes, self.groups, self.shift)

    def deal(self, column: np.ndarray) -> np.ndarray:
        """The column with the rows of each part together."""
        from ray_mlops.fraud import window_order as order

        target = np.empty_like(column)
        order.deal(column, self.codes, self.shift, self.begins, target)
        return target

    def parts(self) -> list[int]:
        """The parts that have rows."""
        return np.flatnonzero(np.diff(self.begins)).tolist()

    def part(self, number: int) -> tuple[slice, int, int]:
        """Where a part lies, its first code and its number of codes."""
        first = number << self.shift
        return slice(self.begins[number], self.begins[number + 1]), first, min(1 << self.shift, self.groups + 1 - first)


class _Collector:
    """Puts dealt columns back into the order of the rows, NaN where there is no entity. The memory of a column that is
    done takes the next one: fresh memory for each would cost more than the work on it."""

    def __init__(self, deal: _Deal, threads: int, precision: Precision) -> None:
        self.deal = deal
        self.nobody = np.flatnonzero(deal.codes == deal.groups)
        self.spare: SimpleQueue[np.ndarray] = SimpleQueue()
        for _ in range(threads):
            self.spare.put(np.empty(len(deal.codes), precision))

    def __call__(self, column: np.ndarray) -> np.ndarray:
        from ray_mlops.fraud import window_order as order

        target = self.spare.get()
        order.collect(column, self.deal.codes, self.deal.shift, self.deal.begins, target)
        target[self.nobody] = np.nan
        self.spare.put(column)
        return target
