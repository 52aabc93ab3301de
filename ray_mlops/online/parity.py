"""The proof that there is no skew: rows of a table go through the online path in order, and every feature is compared
with the batch result."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ray_mlops.contract import Frozen, Progress, Table, no_progress
from ray_mlops.fraud.encoding import encode_numbers, integer_times
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.windows import NEVER
from ray_mlops.online.backfill import backfill, recent, times_of
from ray_mlops.online.contract import EntityStore
from ray_mlops.online.history import instants
from ray_mlops.online.opening import open_store
from ray_mlops.platform import tables

RELATIVE = 1e-9  # of sums and what is made of them; everything else is equal to the last bit
SUMMED = frozenset({"sum", "mean", "std", "ratio", "geometric_ratio", "zscore"})
ROWS_PER_BATCH = 1_000
Label = tuple[int, int | str, float, int]  # due, event id, value, label time


class Skew(Frozen):
    """One feature of one row that differs; `row` counts from the first replayed one."""

    column: str
    entity: str
    row: int
    key: int | str
    batch: float
    online: float

    def __str__(self) -> str:
        where = f"row {self.row} (event {self.key}{', ' + self.entity if self.entity else ''})"
        return f"{self.column} of {where}: batch {self.batch!r}, online {self.online!r}"


class ParityReport(Frozen):
    """`rows` replayed after `history` rows of back-fill; `mismatches` are single values, `columns` how many in each."""

    rows: int
    history: int
    features: int
    mismatches: int
    columns: Mapping[str, int] = {}
    first: Skew | None = None

    def __str__(self) -> str:
        if self.first is None:
            return f"no skew: {self.features} features of {self.rows:,} rows are the same in batch and online"
        worst = ", ".join(f"{name} ({count:,})" for name, count in self.columns.items())
        return f"skew in {self.mismatches:,} values of {self.rows:,} rows; first: {self.first}; by feature: {worst}"


def parity(
    definition: FeatureDefinition,
    table: pa.Table | Table,
    rows: int | None = None,
    *,
    url: str = "memory://",
    rows_per_batch: int = ROWS_PER_BATCH,
    progress: Progress = no_progress,
) -> ParityReport:
    """Replay the last `rows` rows (default: all) through an empty store at `url`, back-filled with those before them,
    and compare each feature with `definition.compute`."""
    read = _read(definition, table, rows)
    start = 0 if rows is None else max(read.num_rows - rows, 0)
    history, replayed = read.slice(0, start), read.slice(start)
    names = _numbers(definition)
    batch = np.column_stack([encode_numbers(column) for column in definition.compute(read).select(names).columns])[
        start:
    ]
    store = open_store(url, definition)
    try:
        backfill(store, history)
        online = np.empty_like(batch)
        for place, features in replay(store, replayed, rows_per_batch=rows_per_batch):
            online[place : place + len(features)] = [[feature[name] for name in names] for feature in features]
            progress(place + len(features), replayed.num_rows, "rows")
    finally:
        store.close()
    return _compare(definition, replayed, names, start, batch, online)


def _read(definition: FeatureDefinition, table: pa.Table | Table, rows: int | None) -> pa.Table:
    """The last `rows` rows and those that their windows reach, ordered by time and key."""
    data, columns = definition.data, list(definition.needed)
    times = times_of(table, data.time)
    if rows is None or rows >= len(times):
        read = tables.load(table, columns) if isinstance(table, Table) else table.select(columns)
    else:
        ordered = np.sort(times)
        read = recent(definition, table, since=int(ordered[len(times) - rows] if rows else ordered[-1]))
    return read.sort_by([(data.time, "ascending"), (data.key, "ascending")])


def replay(
    store: EntityStore, table: pa.Table, *, rows_per_batch: int = ROWS_PER_BATCH
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Send the rows of a table (ordered by time and key) as they would have come, and their labels when they became
    known; yields the position of each batch and its features."""
    data = store.definition.data
    asked = table.select(list(store.definition.asked))
    place = asked.column_names.index(data.time)
    asked = asked.set_column(place, data.time, pa.array(integer_times(table[data.time])))
    times, due = integer_times(table[data.time]), 0
    labels = labels_of(store.definition, table)
    for start in range(0, table.num_rows, rows_per_batch):
        events = asked.slice(start, rows_per_batch).to_pylist()
        now, first = int(times[start + len(events) - 1]), due
        while due < len(labels) and labels[due][0] <= now:
            due += 1
        store.label_many(label[1:] for label in labels[first:due])
        yield start, store.observe_many(events)


def labels_of(definition: FeatureDefinition, table: pa.Table) -> list[Label]:
    """The labels of rows in the order in which they become known: at their own time, or after the shortest delay."""
    data = definition.data
    read = [window for window in definition.windows if window.value == data.label]
    if not read or data.label not in table.column_names:
        return []
    times, values = integer_times(table[data.time]), encode_numbers(table[data.label])
    known = times + min(window.delay_us for window in read)
    if data.label_time is not None:
        known = instants(table[data.label_time])
    there = np.flatnonzero(np.isfinite(values) & (known != NEVER))
    there = there[np.argsort(known[there], kind="stable")]
    keys = table[data.key].take(pa.array(there)).to_pylist()
    when = known[there].tolist()
    return list(zip(when, keys, values[there].tolist(), when, strict=True))


def _numbers(definition: FeatureDefinition) -> tuple[str, ...]:
    """The features that are numbers before encoding; strings are passed on as they are."""
    inputs = tuple(name for name in definition.inputs if name not in definition.strings)
    return (*inputs, *definition.computed)


def _compare(
    definition: FeatureDefinition,
    rows: pa.Table,
    names: tuple[str, ...],
    history: int,
    batch: np.ndarray,
    online: np.ndarray,
) -> ParityReport:
    differs = ~((batch == online) | (np.isnan(batch) & np.isnan(online)))
    summed = np.array([name in _summed(definition) for name in names])
    with np.errstate(invalid="ignore"):
        near = np.abs(batch - online) <= RELATIVE * np.maximum(np.abs(batch), np.abs(online))
    differs &= ~(near & summed)
    counts = differs.sum(axis=0)
    return ParityReport(
        rows=rows.num_rows,
        history=history,
        features=len(names),
        mismatches=int(counts.sum()),
        columns={names[i]: int(counts[i]) for i in np.argsort(-counts, kind="stable") if counts[i]},
        first=_first(definition, rows, names, (differs, batch, online)) if counts.any() else None,
    )


def _first(
    definition: FeatureDefinition,
    rows: pa.Table,
    names: Sequence[str],
    values: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Skew:
    differs, batch, online = values
    row, column = (int(place) for place in np.argwhere(differs)[0])
    entities = next((w.entities for w in definition.windows if names[column] in w.names()), ())
    return Skew(
        column=names[column],
        entity=", ".join(f"{name} {rows[name][row].as_py()}" for name in entities),
        row=row,
        key=rows[definition.data.key][row].as_py(),
        batch=float(batch[row, column]),
        online=float(online[row, column]),
    )


def _summed(definition: FeatureDefinition) -> set[str]:
    aggregates = ((w, aggregate) for w in definition.windows for _ in w.spans for aggregate in w.aggregates)
    names = (name for window in definition.windows for name in window.names())
    return {name for name, (_, aggregate) in zip(names, aggregates, strict=True) if aggregate in SUMMED}
