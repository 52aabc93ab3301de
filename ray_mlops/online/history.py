"""Rows of a table as a store records them in bulk: the entries of each entity, and what is remembered of each event."""

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan

import numpy as np
import pyarrow as pa

from ray_mlops.contract import Schema
from ray_mlops.errors import DataError
from ray_mlops.fraud.encoding import encode_numbers, integer_times
from ray_mlops.fraud.windows import NEVER
from ray_mlops.online import codec
from ray_mlops.online.plan import Plan, Stream
from ray_mlops.online.reading import entity_reader, joined, text_code
from ray_mlops.online.record import Record

Entities = tuple[str, ...]


@dataclass(frozen=True)
class History:
    """Rows ordered by (time, key). `entities` are by group of columns (null: no such entity), `values` by column; a
    missing label is NaN, and the time of a label is the event's where the data do not say."""

    plan: Plan
    keys: list
    times: np.ndarray
    entities: Mapping[Entities, pa.Array]
    values: Mapping[str, np.ndarray]
    labels: np.ndarray
    label_times: np.ndarray

    @classmethod
    def of(cls, plan: Plan, table: pa.Table) -> "History":
        """The rows of a table with the columns of `definition.needed`; DataError where one is missing."""
        data = plan.definition.data
        if absent := [name for name in plan.definition.needed if name not in table.column_names]:
            raise DataError(
                f"the history lacks {', '.join(absent)}; bring a table with the columns of the data's schema"
            )
        table = table.sort_by([(data.time, "ascending"), (data.key, "ascending")])
        columns = {name for stream in plan.streams for name in stream.columns}
        values = {name: _values(data, table, name) for name in columns}
        times = integer_times(table[data.time])
        labels = values.get(data.label, np.full(len(times), np.nan))
        label_times = times
        if data.label_time is not None and data.label_time in table.column_names:
            label_times = instants(table[data.label_time])
            labels = np.where(label_times == NEVER, np.nan, labels)
        entities = {group: _entities(data, table, group) for group in dict.fromkeys(s.entities for s in plan.streams)}
        return cls(plan, table[data.key].to_pylist(), times, entities, values, labels, label_times)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def end(self) -> int:
        """The time of the last event; labels may arrive later."""
        return int(self.times[-1])

    def take(self, rows: np.ndarray) -> "History":
        """Some of the rows, by position."""
        return History(
            self.plan,
            [self.keys[row] for row in rows],
            self.times[rows],
            {group: column.take(pa.array(rows)) for group, column in self.entities.items()},
            {name: column[rows] for name, column in self.values.items()},
            self.labels[rows],
            self.label_times[rows],
        )

    def entries(self, stream: Stream) -> Iterator[tuple[str, bytes, int]]:
        """Each entity of a stream with the entries of its rows, in order, and the newest instant among them."""
        encoded = self.entities[stream.entities].dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        there = ~np.isnan(self.labels) & (codes >= 0) if stream.by_arrival else codes >= 0
        rows = np.flatnonzero(there)
        rows = rows[np.argsort(codes[rows], kind="stable")]
        bounds = np.flatnonzero(np.diff(codes[rows], prepend=-1, append=-1)).tolist()
        names = encoded.dictionary.take(pa.array(codes[rows[bounds[:-1]]])).to_pylist()
        for name, start, end in zip(names, bounds[:-1], bounds[1:], strict=True):
            own = rows[start:end]
            if stream.by_arrival:
                yield name, self._labels(own), int(self.label_times[own].max())
            else:
                yield name, self._run(stream, own), int(self.times[own[-1]])

    def _run(self, stream: Stream, rows: np.ndarray) -> bytes:
        keys = [self.keys[row] for row in rows.tolist()]
        columns = [array("d", self.values[name][rows].tobytes()) for name in stream.columns]
        times = array("q", self.times[rows].tobytes())
        return codec.run_entry(times, keys if stream.text_keys else array("q", keys), columns)

    def _labels(self, rows: np.ndarray) -> bytes:
        entries = zip(
            rows.tolist(),
            self.times[rows].tolist(),
            self.label_times[rows].tolist(),
            self.labels[rows].tolist(),
            strict=True,
        )
        return b"".join(
            codec.LABEL + codec.head(time, self.keys[row]) + codec.label_tail(when, label)
            for row, time, when, label in entries
        )

    def records(self) -> Iterator[Record]:
        """What is to be remembered of each row; it has not been answered."""
        columns = [self.entities[stream.entities].to_pylist() for stream in self.plan.labelled]
        entities = zip(*columns, strict=True) if columns else iter([()] * len(self))
        rows = zip(
            self.keys, self.times.tolist(), entities, self.labels.tolist(), self.label_times.tolist(), strict=True
        )
        for key, time, named, label, when in rows:
            yield Record(key, time, named, None if isnan(label) else label, when)


def _values(data: Schema, table: pa.Table, name: str) -> np.ndarray:
    """A column as the doubles that `plan.value_reader` reads one by one."""
    kind = data.column(name).type
    if kind == "timestamp":
        times = instants(table[name])
        return np.where(times == NEVER, np.nan, times.astype(np.float64))
    if kind == "string":
        encoded = table[name].combine_chunks().dictionary_encode()
        codes = np.array([*map(text_code, encoded.dictionary.to_pylist()), np.nan])
        return codes[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    numbers = encode_numbers(table[name])
    return np.where(np.isfinite(numbers), numbers, np.nan)


def instants(column: pa.ChunkedArray) -> np.ndarray:
    """A timestamp column as integer microseconds since the epoch; `NEVER` where null."""
    return column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).fill_null(NEVER).to_numpy()


def _entities(data: Schema, table: pa.Table, group: Entities) -> pa.Array:
    """The texts that `Plan.read` makes of the rows; null where a part is null."""
    parts = []
    for name in group:
        encoded, read = table[name].combine_chunks().dictionary_encode(), entity_reader(data, name)
        texts = [read(value) for value in encoded.dictionary.to_pylist()]
        parts.append(pa.array(texts, pa.string()).take(encoded.indices))
    if len(parts) == 1:
        return parts[0]
    rows = zip(*(part.to_pylist() for part in parts), strict=True)
    return pa.array([None if None in row else joined(row) for row in rows], pa.string())
