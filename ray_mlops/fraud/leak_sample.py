"""Which rows the leak checks look at: chosen by hash, so that it does not matter how the table was cut or ordered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.types as kinds

from ray_mlops.contract import Schema

ROWS = 20_000
ENTITY_ROWS = 400_000
_WHOLE = 2.0**64


@dataclass(frozen=True)
class Sample:
    """Some rows of a table with all columns, and of each entity column all rows of some entities (entity, time, label)."""

    rows: pa.Table
    entities: Mapping[str, pa.Table]

    @classmethod
    def merged(cls, parts: Sequence["Sample"]) -> "Sample":
        """The sample of several blocks."""
        rows = pa.concat_tables([part.rows for part in parts])
        names = parts[0].entities
        return cls(rows, {name: pa.concat_tables([part.entities[name] for part in parts]) for name in names})

    def to_ipc(self) -> list[bytes]:
        """The tables as Arrow streams: that of the rows, then one for each entity column, which comes first in it."""
        return [_stream(table) for table in (self.rows, *self.entities.values())]

    @classmethod
    def from_ipc(cls, streams: Sequence[bytes]) -> "Sample":
        """What `to_ipc` gave."""
        rows, *entities = (pa.ipc.open_stream(stream).read_all() for stream in streams)
        return cls(rows, {table.column_names[0]: table for table in entities})


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@dataclass(frozen=True)
class Draw:
    """How a table of `rows` rows is sampled: about `ROWS` of its rows, and entities with about `ENTITY_ROWS` of them."""

    data: Schema
    rows: int

    def __call__(self, block: pa.Table) -> Sample:
        """The sample of a block."""
        data = self.data
        chosen = block.filter(pa.array(_below(block[data.key], ROWS / max(self.rows, 1))))
        share = ENTITY_ROWS / max(self.rows, 1)
        entities = {
            name: block.select([name, data.time, data.label]).filter(pa.array(_below(block[name], share)))
            for name in data.entities
            if name != data.key
        }
        return Sample(chosen, entities)


def _below(column: pa.ChunkedArray, share: float) -> np.ndarray:
    """Whether the hash of a value is among that share of all hashes; missing values never are."""
    valid = column.is_valid().to_numpy().astype(bool)
    if share >= 1:
        return valid
    chosen = np.zeros(len(column), dtype=bool)
    chosen[valid] = _hashes(column.drop_null()) < np.uint64(share * _WHOLE)
    return chosen


def _hashes(column: pa.ChunkedArray) -> np.ndarray:
    import pandas.util

    hash_array: Any = pandas.util.hash_array
    if kinds.is_integer(column.type) or kinds.is_floating(column.type):
        return hash_array(column.to_numpy())
    encoded = pa.chunked_array([column.combine_chunks()]).combine_chunks().dictionary_encode()
    words = hash_array(
        np.array([str(value) for value in encoded.dictionary.to_pylist()], dtype=object), categorize=False
    )
    return words[encoded.indices.to_numpy()]
