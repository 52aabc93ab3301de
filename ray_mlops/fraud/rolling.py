"""The windows of all events of a table at once: the batch twin of the online executor.

Rows are dealt into parts small enough for the cache, each with whole entities, and the parts are worked on by threads.
A feature depends on the events of its entity only, so neither parts nor threads nor the order of rows change a bit.
"""

from collections.abc import Iterable, Sequence
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


def roll(
    windows: Sequence[Window],
    table: pa.Table,
    *,
    key: str,
    time: str,
    arrival: Arrival,
    threads: int = 1,
    precision: Precision = np.float64,
) -> dict[str, np.ndarray]:
    """The features of every row, in the order of the rows, by name; computed in double precision, rounded once.

    `table` holds, in any order, all events of each of its entities as far back as the windows reach.
    """
    columns = Columns.of(windows, table, key=key, time=time, arrival=arrival)
    features: dict[str, np.ndarray] = {}
    for entities in dict.fromkeys(window.entities for window in windows):
        own = [window for window in windows if window.entities == entities]
        codes, groups = encode_entities([table[name] for name in entities])
        blocks = roll_entity(own, columns.read_by(own), (codes, groups), threads=threads, precision=precision)
        features.update(zip((name for window in own for name in window.names()), blocks, strict=True))
    return features


def roll_entity(
    windows: Sequence[Window],
    columns: Columns,
    entity: tuple[np.ndarray, int],
    *,
    threads: int,
    precision: Precision,
) -> list[np.ndarray]:
    """The features of windows over one entity: (codes, groups), a code below `groups` a row, or equal to it where the
    row has none."""
    from ray_mlops.fraud import window_order as order
    from ray_mlops.fraud.window_part import Part

    codes, groups = entity
    deal = _Deal.of(codes, groups)
    dealt_codes, dealt = deal.deal(codes), columns.mapped(deal.deal)
    outputs = [np.empty(len(codes), precision) for window in windows for _ in window.names()]

    def work(place: tuple[slice, int, int]) -> None:
        where, first, count = place
        rows, starts = order.group_rows(dealt_codes[where], first, count)
        part = Part.of(dealt.mapped(lambda column: column[where]), rows, starts)
        features = (column for window in windows for column in part.features(window))
        for output, column in zip(outputs, features, strict=True):
            order.put(output[where], part.rows, column)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, deal.parts()))
        return list(pool.map(_Collector(deal, threads, precision), outputs))


@dataclass(frozen=True)
class _Deal:
    """Which part each row belongs to: the parts are ranges of entity codes, `1 << shift` codes each."""

    codes: np.ndarray
    groups: int
    shift: int
    begins: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, groups: int) -> "_Deal":
        from ray_mlops.fraud import window_order as order

        parts = max(1, min(MAX_PARTS, len(codes) // ROWS_PER_PART))
        shift = (groups // parts).bit_length()
        sizes = order.part_sizes(codes, shift, (groups >> shift) + 1)
        return cls(codes, groups, shift, np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes))))

    def deal(self, column: np.ndarray) -> np.ndarray:
        """The column with the rows of each part together."""
        from ray_mlops.fraud import window_order as order

        target = np.empty_like(column)
        order.deal(column, self.codes, self.shift, self.begins, target)
        return target

    def parts(self) -> Iterable[tuple[slice, int, int]]:
        """Where each part that has rows lies, its first code and its number of codes."""
        for part in np.flatnonzero(np.diff(self.begins)).tolist():
            first = part << self.shift
            yield slice(self.begins[part], self.begins[part + 1]), first, min(1 << self.shift, self.groups + 1 - first)


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
