"""The parts of a feature table as arrays, in the shares in which N workers read them.

Each worker reads the row groups that hold its share from the Parquet files itself. Ray Data would do the same through
three more processes, which takes 3 to 8 s to start (measured, 100,000 rows) against 0.1 s; and since every row is still
read by one worker only, it scales the same way. Nothing is left to deadlock when the workers hold all CPUs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from ray_mlops.contract import Features
from ray_mlops.errors import DataError
from ray_mlops.platform import files, tables

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class ArrayPart:
    """A `Part` held in memory: features `(rows, ...)` and labels `(rows,)`."""

    features: np.ndarray
    labels: np.ndarray

    @property
    def streams(self) -> bool:
        """Whether rows come as they are read; these are all there."""
        return False

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.labels)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels, in the order of the rows."""
        return self.features, self.labels

    def batches(self, size: int, seed: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of at most `size` rows, in order or, with a seed, shuffled."""
        order = np.arange(len(self.labels))
        if seed is not None:
            np.random.default_rng(seed).shuffle(order)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield self.features[chosen], self.labels[chosen]


@dataclass(frozen=True)
class Source:
    """Where the labelled rows of a feature table lie; small and picklable, so that it can be sent to workers."""

    paths: tuple[str, ...]
    names: tuple[str, ...]
    label: str
    order: tuple[str, str]

    @classmethod
    def of(cls, features: Features) -> "Source":
        """The source of a feature table; raises `DataError` when a fit on it could not work."""
        _check(features)
        data = features.table.data
        return cls(tuple(tables.paths(features.table)), features.names, data.label, (data.time, data.key))

    def read(self, split: Split, rank: int = 0, size: int = 1) -> ArrayPart:
        """The share of worker `rank` of `size`: shares differ by one row at most, and each row is in exactly one.

        Rows are ordered by (time, key) within the share; rows without a label are in no share.
        """
        wanted = self.wanted(split)
        groups = list(self._groups())
        counts = [group.count_rows(filter=wanted) for group in groups]
        total = sum(counts)
        first, last = total * rank // size, total * (rank + 1) // size
        columns = list(self.columns)
        shares, start = [], 0
        for group, count in zip(groups, counts, strict=True):
            low, high = max(first - start, 0), min(last - start, count)
            if low < high:
                shares.append(group.to_table(columns=columns, filter=wanted).slice(low, high - low))
            start += count
        if not shares:
            raise DataError(f"worker {rank} of {size} has no {split} rows: {total} are too few. Use fewer workers.")
        return self.part(pa.concat_tables(shares))

    def _groups(self) -> Iterator[pads.ParquetFileFragment]:
        filesystem, _ = files.filesystem(self.paths[0])
        local = [files.filesystem(path)[1] for path in self.paths]
        data = pads.dataset(local, format="parquet", filesystem=filesystem)
        for fragment in data.get_fragments():
            assert isinstance(fragment, pads.ParquetFileFragment)
            yield from fragment.split_by_row_group()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `part` needs."""
        return tuple(dict.fromkeys((*self.names, self.label, *self.order)))

    def wanted(self, split: Split) -> pc.Expression:
        """The labelled rows of a split."""
        return (pc.field("split") == split) & pc.field(self.label).is_valid()

    def part(self, rows: pa.Table) -> ArrayPart:
        """Some rows as arrays, ordered by (time, key)."""
        time, key = self.order
        rows = rows.sort_by([(time, "ascending"), (key, "ascending")])
        features = np.empty((rows.num_rows, len(self.names)), dtype=np.float32)
        for position, name in enumerate(self.names):
            features[:, position] = rows.column(name).cast(pa.float64()).to_numpy()
        return ArrayPart(features, rows.column(self.label).cast(pa.float64()).to_numpy().astype(np.float32))


def _check(features: Features) -> None:
    """Refuse parts on which nothing can be fitted or judged, before any worker starts."""
    for split in ("train", "validation"):
        rows, positives = features.rows.get(split, 0), features.positives.get(split, 0)
        if not 0 < positives < rows:
            raise DataError(
                f"the {split} part has {rows} rows, {positives} of them positive: both classes are needed. "
                f"Widen the split of the features stage (for instance --features.split.{split}_days)."
            )
