"""The parts of a table of images as arrays, in the shares in which N workers read them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset as pads

from ray_mlops.contract import Features, ImageFeatures
from ray_mlops.errors import DataError
from ray_mlops.platform import files, tables
from ray_mlops.platform.parts import ArrayPart, Source, Split
from ray_mlops.vision.features import SPLIT, TARGET, read_all, unpacked
from ray_mlops.vision.transform import Transform

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
_DECODERS = 4


@dataclass(frozen=True)
class ImageSource:
    """Where the images of a feature table lie; small and picklable, so that it can be sent to workers."""

    paths: tuple[str, ...]
    names: tuple[str, ...]
    key: str
    image: str
    transform: Transform
    pixels: bool

    @classmethod
    def of(cls, features: ImageFeatures) -> "ImageSource":
        """The source of a feature table."""
        data = features.table.data
        transform = Transform.model_validate(files.read_json(features.transform))
        paths, pixels = tuple(tables.paths(features.table)), features.stored == "pixels"
        return cls(paths, features.classes, data.key, data.image, transform, pixels)

    def read(self, split: Split, rank: int = 0, size: int = 1) -> ArrayPart:
        """The share of worker `rank` of `size`, ordered by key: uint8 `(rows, height, width, channels)` and int64.

        Shares differ by one row at most and each row is in exactly one. Every `size`-th row is taken, because tables
        are often sorted by class.
        """
        rows = self.rows(split, rank, size)
        if not rows.num_rows:
            raise DataError(f"worker {rank} of {size} has no {split} images. Use fewer workers.")
        return self.part(rows)

    def rows(self, split: Split, rank: int = 0, size: int = 1) -> pa.Table:
        """The rows of the share, as they lie in the files."""
        shares, seen = [], 0
        for group in self._groups():
            count = group.count_rows(filter=self.wanted(split))
            chosen = np.arange((rank - seen) % size, count, size)
            seen += count
            if len(chosen):
                table = group.to_table(columns=list(self.columns), filter=self.wanted(split))
                shares.append(table.take(pa.array(chosen)) if size > 1 else table)
        return pa.concat_tables(shares) if shares else pa.table({TARGET: pa.array([], pa.int64())})

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `part` needs."""
        return (self.key, self.image, TARGET)

    def wanted(self, split: Split) -> Any:
        """The Arrow expression of the rows of a split."""
        return pc.field(SPLIT) == split

    def part(self, rows: pa.Table) -> ArrayPart:
        """Some rows as arrays, ordered by key."""
        order = pc.sort_indices(rows[self.key]).to_numpy()
        return ArrayPart(self.decoded(rows)[order], rows[TARGET].to_numpy()[order])

    def batches(self, split: Split, rows: int) -> Iterator[pa.Table]:
        """The images of a split as they lie in the files, at most `rows` at once."""
        for group in self._groups():
            found = group.to_table(columns=[*self.columns, SPLIT], filter=self.wanted(split))
            for start in range(0, found.num_rows, rows):
                yield found.slice(start, rows)

    def decoded(self, rows: pa.Table) -> np.ndarray:
        """The images of some rows, uint8 `(rows, height, width, channels)`."""
        if self.pixels:
            return unpacked(rows[self.image], self.transform.shape)
        return read_all(rows[self.image].to_pylist(), self.transform, _DECODERS)

    def _groups(self) -> Iterator[pads.ParquetFileFragment]:
        filesystem, _ = files.filesystem(self.paths[0])
        local = [files.filesystem(path)[1] for path in self.paths]
        for fragment in pads.dataset(local, format="parquet", filesystem=filesystem).get_fragments():
            assert isinstance(fragment, pads.ParquetFileFragment)
            yield from fragment.split_by_row_group()


AnySource = Source | ImageSource


def source_of(features: Features | ImageFeatures) -> AnySource:
    """Where the rows of a feature table lie, in either family."""
    return ImageSource.of(features) if isinstance(features, ImageFeatures) else Source.of(features)
