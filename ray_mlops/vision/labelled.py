"""The labelled rows of a clean table, without their images: classes, labels, and what must stay together in a split."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ray_mlops.contract import ImageTable
from ray_mlops.errors import ConfigError
from ray_mlops.platform import tables
from ray_mlops.vision import split as splitting
from ray_mlops.vision.split import Split

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
TWINS = "twins"


@dataclass(frozen=True)
class Labelled:
    """Rows by key; `labels` are places in `classes`, `tied` numbers equal for rows of one group or set of duplicates."""

    keys: pa.ChunkedArray
    classes: tuple[str, ...]
    labels: np.ndarray
    tied: np.ndarray

    @classmethod
    def read(cls, table: ImageTable) -> "Labelled":
        """The rows of a table whose label is one of the classes: the declared ones, or all that occur, sorted."""
        data = table.data
        ties = [name for name in (data.group, TWINS) if name in table.columns]
        rows = tables.load(table, [data.key, data.label, *ties], pc.field(data.label).is_valid()).sort_by(data.key)
        classes = data.classes or tuple(sorted(rows[data.label].unique().to_pylist()))
        rows = rows.filter(pc.is_in(rows[data.label], value_set=pa.array(classes, pa.string())))
        labels = pc.index_in(rows[data.label], value_set=pa.array(classes, pa.string())).to_numpy().astype(np.int64)
        tied = splitting.units(*(rows[name].to_numpy() for name in ties)) if ties else np.arange(rows.num_rows)
        return cls(rows[data.key], classes, labels, tied)

    def parts(self, split: Split, *, seed: int) -> np.ndarray:
        """The place of each row in `split.PARTS`, or `split.OUT`; `ConfigError` when no key begins with `test_keys`."""
        given = np.zeros(len(self.labels), bool)
        if split.test_keys:
            given = pc.starts_with(self.keys, split.test_keys).to_numpy()
            if not given.any():
                raise ConfigError(f"features.split.test_keys: no key begins with {split.test_keys!r}")
        return splitting.assign(self.labels, self.tied, split, seed=seed, given=given)
