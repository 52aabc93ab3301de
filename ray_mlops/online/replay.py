"""Rows of a table sent once more, as they would have come: events in order, each label when it became known."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ray_mlops.fraud.encoding import encode_numbers, integer_times
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.windows import NEVER
from ray_mlops.online.backfill import backfill
from ray_mlops.online.contract import EntityStore, Event, Features
from ray_mlops.online.history import instants
from ray_mlops.online.rows import observed

Reader = Callable[[list[dict[str, Any]]], Sequence[Event]]
Step = tuple[int, Sequence[Features], np.ndarray]  # position of its first row, features by name, encoded rows


def replay(
    store: EntityStore, table: pa.Table, start: int, *, rows_per_batch: int, read: Reader = lambda rows: rows
) -> Iterator[Step]:
    """Record the rows of a table (ordered by time and key) before `start` at once, then send the others in batches.

    The labels that were not known when the first of these came are held back until they became known. `read` makes
    events of rows, as what receives requests would.
    """
    definition, times = store.definition, integer_times(table[store.definition.data.time])
    begin = int(times[start]) if start < len(times) else NEVER
    known = known_at(definition, table)
    backfill(store, _without_labels(definition, table, known > begin).slice(0, start))
    coming = (known != NEVER) & ((known > begin) | (np.arange(len(times)) >= start))
    labels, due = _labels(definition, table, known, coming), 0
    asked = _asked(definition, table)
    for first in range(start, len(times), rows_per_batch):
        rows = asked.slice(first, rows_per_batch).to_pylist()
        sent, now = due, int(times[first + len(rows) - 1])
        while due < len(labels) and labels[due][2] <= now:
            due += 1
        store.label_many(labels[sent:due])
        yield first - start, *observed(definition, store, read(rows))


def known_at(definition: FeatureDefinition, table: pa.Table) -> np.ndarray:
    """When the label of each row became known, integer microseconds: at its own time, or after the shortest delay;
    `NEVER` where there is none."""
    data = definition.data
    delays = [window.delay_us for window in definition.windows if window.value == data.label]
    if not delays:
        return np.full(table.num_rows, NEVER)
    known = integer_times(table[data.time]) + min(delays)
    if data.label_time is not None:
        known = instants(table[data.label_time])
    return np.where(np.isfinite(encode_numbers(table[data.label])), known, NEVER)


def _labels(
    definition: FeatureDefinition, table: pa.Table, known: np.ndarray, coming: np.ndarray
) -> list[tuple[int | str, float, int]]:
    """The labels that are still `coming`, in the order in which they became known."""
    there = np.flatnonzero(coming)
    there = there[np.argsort(known[there], kind="stable")]
    if not len(there):
        return []
    found = table.take(pa.array(there))
    values = encode_numbers(found[definition.data.label]).tolist()
    return list(zip(found[definition.data.key].to_pylist(), values, known[there].tolist(), strict=True))


def _without_labels(definition: FeatureDefinition, table: pa.Table, hidden: np.ndarray) -> pa.Table:
    """The table with the hidden labels missing."""
    name = definition.data.label
    if name not in table.column_names:
        return table
    place, labels = table.column_names.index(name), table[name].combine_chunks()
    return table.set_column(place, name, labels.take(pa.array(np.arange(len(hidden)), mask=hidden)))


def _asked(definition: FeatureDefinition, table: pa.Table) -> pa.Table:
    """What a request brings of each row, its time in integer microseconds."""
    asked, name = table.select(list(definition.asked)), definition.data.time
    return asked.set_column(asked.column_names.index(name), name, pa.array(integer_times(table[name])))
