"""Training rows that stream through Ray Data to the workers, for tables that do not fit into their memory.

Ray Data reads and decodes ahead, in tasks of its own. Each row goes to exactly one worker an epoch: to the one that has
had fewest, in the order of the files, so that a fit which goes on in the middle of an epoch meets the same rows again.
Shares may be uneven, since no row is dropped to make them equal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from ray_mlops.platform import files
from ray_mlops.platform.parts import ArrayPart, Split

SPLIT, _FEATURES, _LABELS = "split", "features", "labels"
_ROWS = 512  # a block that is decoded at once
_SHUFFLED = 4096  # rows among which the next batch is drawn
_AHEAD = 2


class Streamable(Protocol):
    """Where the rows of a feature table lie, and how some of them become arrays."""

    @property
    def paths(self) -> tuple[str, ...]: ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `part` needs."""
        ...

    def wanted(self, split: Split) -> Any:
        """The Arrow expression of the labelled rows of a split."""
        ...

    def part(self, rows: pa.Table) -> ArrayPart:
        """Some rows as arrays."""
        ...


def arguments(source: Streamable, split: Split) -> dict[str, Any]:
    """The arguments of a Ray trainer whose workers read a split as a stream: all of its rows, none twice, none left out."""
    import ray.data
    from ray.data.expressions import col
    from ray.train import DataConfig

    class WholeSplits(DataConfig):
        """Ray cuts shards to equal length by dropping rows; ours may differ in length."""

        def configure(self, datasets: dict, world_size: int, *args: Any, **others: Any) -> list[dict[str, Any]]:
            rows = datasets[split]
            rows.context.execution_options.preserve_order = True
            return [{split: shard} for shard in rows.streaming_split(world_size, equal=False)]

    filesystem, _ = files.filesystem(source.paths[0])
    paths = [files.filesystem(path)[1] for path in source.paths]
    rows = ray.data.read_parquet(paths, filesystem=filesystem).select_columns([*source.columns, SPLIT])
    decoded = rows.filter(expr=col(SPLIT) == split).map_batches(
        partial(_arrays, source=source, split=split), batch_size=_ROWS, batch_format="pyarrow", zero_copy_batch=True
    )
    # A worker is given whole blocks: small ones, so that each has its share of a small table too.
    dealt = decoded.repartition(target_num_rows_per_block=_ROWS)
    return {"datasets": {split: dealt}, "dataset_config": WholeSplits(datasets_to_split=[split])}


def _arrays(rows: pa.Table, source: Streamable, split: Split) -> dict[str, np.ndarray]:
    part = source.part(rows.filter(source.wanted(split)).select(list(source.columns)))
    return {_FEATURES: part.features, _LABELS: part.labels}


@dataclass(frozen=True)
class StreamedPart:
    """A `Part` that comes from Ray Data's iterator of this worker; `rows` is about its share."""

    shard: Any
    rows: int

    @property
    def streams(self) -> bool:
        """Whether rows come as they are read: these do."""
        return True

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All rows of the share: for algorithms that cannot learn from batches."""
        found = list(self.batches(_ROWS))
        return np.concatenate([batch for batch, _ in found]), np.concatenate([labels for _, labels in found])

    def batches(self, size: int, seed: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of at most `size` rows; with a seed, each is drawn from some thousand rows that came together."""
        shuffle = {"local_shuffle_buffer_size": _SHUFFLED, "local_shuffle_seed": seed} if seed is not None else {}
        batches = self.shard.iter_batches(batch_size=size, batch_format="numpy", prefetch_batches=_AHEAD, **shuffle)
        for batch in batches:
            yield batch[_FEATURES], batch[_LABELS]
