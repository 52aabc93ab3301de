"""Filling a store: with history when an endpoint is first deployed, and from the capture log after a restore."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_mlops.contract import Progress, Table, no_progress
from ray_mlops.errors import DataError
from ray_mlops.fraud.encoding import integer_times
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.split import EPOCH
from ray_mlops.online.capture_log import LINES_PER_STEP, CaptureLog
from ray_mlops.online.contract import EntityStore
from ray_mlops.online.opening import kind_of, open_store
from ray_mlops.online.plan import LATENESS_US, Plan
from ray_mlops.online.reading import instant, key_reader, label_value
from ray_mlops.platform import tables
from ray_mlops.platform.content import ARROW_TYPES

ROWS_PER_STEP = 250_000
PARALLEL_ROWS = 500_000  # fewer are there before workers have started
ROWS_PER_TASK = 100_000
LABELS_PER_STEP = 256
CLOCK_EVENTS = 64


def backfill(store: EntityStore, table: pa.Table | Table, *, progress: Progress = no_progress) -> int:
    """Record the rows of a table that windows can still reach at its end, with their labels; the number of new events.

    May be run again, or while the store is in use: events that it knows are left alone.
    """
    return _absorb_all(store, _ordered(store.definition, table), progress)


def fill(url: str, definition: FeatureDefinition, table: pa.Table | Table, *, progress: Progress = no_progress) -> int:
    """`backfill` of the store at a URL; many rows come to Redis from the workers of the Ray cluster.

    SQLite takes one writer at a time: there, workers that wait for one another take longer than one process.
    """
    rows = _ordered(definition, table)
    if rows.num_rows >= PARALLEL_ROWS and kind_of(url) not in ("sqlite", "memory"):
        return _fill_in_parallel(url, definition, rows, progress)
    store = open_store(url, definition)
    try:
        return _absorb_all(store, rows, progress)
    finally:
        store.close()


def _ordered(definition: FeatureDefinition, table: pa.Table | Table) -> pa.Table:
    data = definition.data
    return recent(definition, table).sort_by([(data.time, "ascending"), (data.key, "ascending")])


def _absorb_all(store: EntityStore, rows: pa.Table, progress: Progress) -> int:
    counts = ((part.num_rows, store.absorb(part)) for part in _parts(rows, ROWS_PER_STEP))
    return _counted(counts, rows.num_rows, progress)


def _fill_in_parallel(url: str, definition: FeatureDefinition, rows: pa.Table, progress: Progress) -> int:
    import ray.data

    absorb = partial(_absorb, url=url, definition=definition)
    parts = ray.data.from_arrow(_parts(rows, ROWS_PER_TASK))
    absorbed = parts.map_batches(absorb, batch_size=None, batch_format="pyarrow")
    return _counted(((part["rows"], part["new"]) for part in absorbed.iter_rows()), rows.num_rows, progress)


def _absorb(part: pa.Table, url: str, definition: FeatureDefinition) -> pa.Table:
    store = open_store(url, definition)
    try:
        return pa.table({"rows": [part.num_rows], "new": [store.absorb(part)]})
    finally:
        store.close()


def _parts(rows: pa.Table, size: int) -> list[pa.Table]:
    return [rows.slice(start, size) for start in range(0, rows.num_rows, size)]


def _counted(absorbed: Iterable[tuple[int, int]], total: int, progress: Progress) -> int:
    """The number of new rows, while what is done is told."""
    done, new = 0, 0
    progress(0, total, "rows")
    for rows, fresh in absorbed:
        done, new = done + rows, new + fresh
        progress(done, total, "rows")
    return new


def recent(definition: FeatureDefinition, table: pa.Table | Table, *, since: int | None = None) -> pa.Table:
    """The rows, with the columns of `definition.needed`, that windows of an event at `since` (default: the last event)
    or later can reach: recent ones, and those whose labels came recently."""
    data, columns = definition.data, list(definition.needed)
    newest = int(times_of(table, data.time).max(initial=0)) if since is None else since
    limit = EPOCH + timedelta(microseconds=newest - Plan(definition).reach_us - LATENESS_US)
    at = pa.scalar(limit, pa.timestamp("us", tz="UTC"))
    reached = pc.field(data.time) > at
    if data.label_time in columns:
        reached |= pc.field(data.label_time) > at
    return tables.load(table, columns, reached) if isinstance(table, Table) else table.select(columns).filter(reached)


def times_of(table: pa.Table | Table, name: str) -> np.ndarray:
    """The times of all rows, integer microseconds."""
    return integer_times((tables.load(table, [name]) if isinstance(table, Table) else table)[name])


def catch_up(store: EntityStore, log: CaptureLog, *, progress: Progress = no_progress) -> int:
    """Record what a capture log holds and the store does not know: events, then labels; the number of new events.

    May be run again, or while the store is in use. Lines of another data schema are passed over.
    """
    definition = store.definition
    found = log.read(definition.needed, progress=progress)
    new = _absorb_events(store, _table(definition, found.events), progress)
    for start in range(0, len(found.labels), LABELS_PER_STEP):
        store.label_many(_labels(definition, found.labels[start : start + LABELS_PER_STEP]))
        progress(min(start + LABELS_PER_STEP, len(found.labels)), len(found.labels), "captured labels")
    return new


def _absorb_events(store: EntityStore, rows: pa.Table, progress: Progress) -> int:
    if not rows.num_rows:
        return 0
    data = store.definition.data
    # The newest time but for a few that may be wrong: what one of them dates into the future must not age the rest.
    present = int(np.sort(integer_times(rows[data.time]))[-CLOCK_EVENTS:][0])
    rows = recent(store.definition, rows, since=present).sort_by([(data.time, "ascending"), (data.key, "ascending")])
    passed = int(np.searchsorted(integer_times(rows[data.time]), present, side="right"))
    new = 0
    for start in (*range(0, passed, ROWS_PER_STEP), passed):
        part = rows.slice(start, min(ROWS_PER_STEP, passed - start) if start < passed else None)
        new += store.absorb(part) if part.num_rows else 0
        progress(start + part.num_rows, rows.num_rows, "captured events")
    return new


def _table(definition: FeatureDefinition, events: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Captured inputs as rows; of an id that was sent several times the first."""
    key, time = (definition.needed.index(name) for name in (definition.data.key, definition.data.time))
    schema = pa.schema([(name, ARROW_TYPES[definition.data.column(name).type]) for name in definition.needed])
    first = {event[key]: event for event in reversed(events) if event[key] is not None and event[time] is not None}
    kept = list(first.values())
    parts = [_rows(kept[start : start + LINES_PER_STEP], schema) for start in range(0, len(kept), LINES_PER_STEP)]
    return pa.concat_tables([schema.empty_table(), *parts])


def _rows(events: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    try:
        columns = zip(*events, strict=True)
        return pa.table([_column(values, field.type) for values, field in zip(columns, schema, strict=True)], schema)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        if len(events) == 1:
            return schema.empty_table()
        half = len(events) // 2
        return pa.concat_tables([_rows(events[:half], schema), _rows(events[half:], schema)])


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_timestamp(kind):
        return pa.array(values, kind)
    return pa.array([None if value is None else instant(value) for value in values], pa.int64()).cast(kind)


def _labels(
    definition: FeatureDefinition, lines: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[int | str, float, int]]:
    key = key_reader(definition.data)
    for line in lines:
        try:
            yield key(line.get("id")), label_value(line.get("label")), instant(line.get("label_time"), "label_time")
        except DataError:
            continue
