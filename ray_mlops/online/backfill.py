"""Filling a store: with history when an endpoint is first deployed, and from the capture log after a restore."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ray_mlops.contract import Progress, Table, no_progress
from ray_mlops.errors import DataError
from ray_mlops.fraud.encoding import integer_times
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.split import EPOCH
from ray_mlops.online.contract import EntityStore
from ray_mlops.online.plan import LATENESS_US, Plan
from ray_mlops.platform import tables

ROWS_PER_STEP = 250_000
LINES_PER_STEP = 256


def backfill(store: EntityStore, table: pa.Table | Table, *, progress: Progress = no_progress) -> int:
    """Record the rows of a table that windows can still reach at its end, with their labels; the number of new events.

    May be run again, or while the store is in use: events that it knows are left alone.
    """
    rows = recent(store.definition, table)
    rows = rows.sort_by([(store.definition.data.time, "ascending"), (store.definition.data.key, "ascending")])
    done, new = 0, 0
    progress(0, rows.num_rows, "rows")
    for start in range(0, rows.num_rows, ROWS_PER_STEP):
        part = rows.slice(start, ROWS_PER_STEP)
        new += store.absorb(part)
        done += part.num_rows
        progress(done, rows.num_rows, "rows")
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


def catch_up(
    store: EntityStore, capture: str, *, since: datetime | None = None, progress: Progress = no_progress
) -> int:
    """Record the events of a capture folder (JSON lines with `inputs`) that the store does not know; their number read.

    `since` skips events older than that. A line that a killed replica left unfinished is passed over.
    """
    data = store.definition.data
    events = [event for event in _captured(capture) if data.key in event and data.time in event]
    if since is not None:
        start = since if since.tzinfo else since.replace(tzinfo=UTC)
        events = [event for event in events if _when(event[data.time]) >= start]
    events.sort(key=lambda event: (_when(event[data.time]), event[data.key]))
    for start in range(0, len(events), LINES_PER_STEP):
        store.observe_many(events[start : start + LINES_PER_STEP])
        progress(min(start + LINES_PER_STEP, len(events)), len(events), "events")
    return len(events)


def _captured(capture: str) -> Iterator[Mapping[str, Any]]:
    folder = Path(capture)
    if not folder.is_dir():
        raise DataError(f"no capture log in {capture}; give the folder that the endpoint writes to")
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                yield orjson.loads(line)["inputs"]
            except (orjson.JSONDecodeError, KeyError):
                continue


def _when(value: str) -> datetime:
    at = datetime.fromisoformat(value)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
