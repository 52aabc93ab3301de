"""Features: point-in-time features of each event and the split in time, as one table.

The columns of the table are key, time, label, amount and entities of the data, then the model inputs (float32, encoded
with what the train rows taught), then `split`. Rows outside train, validation and test are history and not in it, nor
are rows without a label, nor the events of cards known as compromised (see `fraud.split`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset as pads

from ray_mlops.contract import Column, Features, Interval, Run, Schema, Table
from ray_mlops.errors import ConfigError, DataError
from ray_mlops.fraud.encoding import encode_numbers, integer_times
from ray_mlops.fraud.features import FeatureDefinition, FeaturesConfig
from ray_mlops.fraud.rolling import Output
from ray_mlops.fraud.split import PARTS, Assignment, known_cards, microseconds
from ray_mlops.fraud.windows import Window
from ray_mlops.platform import files, tables
from ray_mlops.platform.exchange import exchanged
from ray_mlops.platform.time_slices import Histogram, Room, TimeSlice, plan_slices, sliced

if TYPE_CHECKING:
    import ray.data

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

ROWS_PER_PARTITION = 1_000_000  # some 100 MB with twenty features: several fit into a worker, few files come out
BYTES_PER_COLUMN, BYTES_PER_FEATURE = 20, 7  # of a row in the memory of a worker while its windows are computed
SPLIT = "split"


@dataclass(frozen=True)
class _Plan:
    """What one row of the feature table is made of; travels to the workers."""

    definition: FeatureDefinition
    assignment: Assignment

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns of the data that the feature table keeps."""
        data = self.definition.data
        amount = () if data.amount is None else (data.amount,)
        return tuple(dict.fromkeys((data.key, data.time, data.label, *amount, *data.entities)))

    @property
    def read(self) -> list[str]:
        """The columns of the data that are read."""
        return list(dict.fromkeys((*self.kept, *self.definition.needed)))

    def finish(self, computed: pa.Table) -> pa.Table:
        """The rows of the feature table among rows whose features have been computed."""
        parts = self.assignment.parts(computed)
        rows = np.flatnonzero(parts >= 0)
        computed = computed.take(pa.array(rows))
        table = computed.select(self.kept)
        for name, column in zip(self.definition.names, self.definition.encode(computed).T, strict=True):
            if name not in self.kept:
                table = table.append_column(name, pa.array(np.ascontiguousarray(column)))
        return table.append_column(SPLIT, pa.array(PARTS).take(pa.array(parts[rows])))


def run(config: FeaturesConfig, run: Run, *, table: Table) -> Features:
    """Compute the features of a clean table and split it.

    Raises ConfigError when the data are too short for the split or the config names what is not in them, and DataError
    when a part has no positives or nothing else.
    """
    definition = FeatureDefinition.of(config, table.data)
    _check_names(definition)
    intervals = config.split.intervals(*_time_range(table))
    assignment = _assign(table, config, intervals)
    rows, positives = _count(table, assignment)
    definition = _fit(definition, table, intervals["train"])
    run.progress(0, table.rows, "rows")
    made = _write(config, run, _Plan(definition, assignment), table)
    run.progress(table.rows, table.rows, "rows")
    path = files.join(run.uri, "definition.json")
    files.write_text(path, definition.model_dump_json(indent=1))
    return Features(
        uri=run.uri,
        fingerprint=run.fingerprint,
        table=made,
        names=definition.names,
        definition=path,
        history=table.plain(),
        intervals=intervals,
        rows=rows,
        positives=positives,
    )


# ---- the split -----------------------------------------------------------------------------------------------------


def _check_names(definition: FeatureDefinition) -> None:
    if SPLIT in (*definition.computed, *definition.inputs, *definition.data.names):
        raise ConfigError(f"features: a column named {SPLIT!r} would collide with the split; rename it in the source")


def _time_range(table: Table) -> tuple[datetime, datetime]:
    found = [pc.min_max(batch[table.data.time]) for batch in _scan(table, [table.data.time]) if batch.num_rows]
    return min(bounds["min"].as_py() for bounds in found), max(bounds["max"].as_py() for bounds in found)


def _assign(table: Table, config: FeaturesConfig, intervals: Mapping[str, Interval]) -> Assignment:
    data, split = table.data, config.split
    card = data.entities[0] if data.entities and split.remove_known else None
    assignment = Assignment(intervals, data.time, data.label, card)
    if card is None:
        return assignment
    columns = [card, data.time, data.label, *([data.label_time] if data.label_time else [])]
    until = pc.field(data.time) < max(interval.end for interval in intervals.values())
    frauds = [batch.filter(_positive(batch[data.label])) for batch in _scan(table, columns, until)]
    if not frauds:
        return assignment
    return known_cards(pa.concat_tables(frauds), split, assignment, data.label_time)


def _count(table: Table, assignment: Assignment) -> tuple[dict[str, int], dict[str, int]]:
    """Rows and positives of each part; DataError where a part has one class only."""
    rows, positives = np.zeros(len(PARTS), np.int64), np.zeros(len(PARTS), np.int64)
    names = [name for name in (assignment.time, assignment.label, assignment.card) if name is not None]
    for batch in _scan(table, names):
        parts = assignment.parts(batch)
        positive = _positive(batch[assignment.label])
        rows += np.bincount(parts[parts >= 0], minlength=len(PARTS))
        positives += np.bincount(parts[(parts >= 0) & positive], minlength=len(PARTS))
    for name, total, found in zip(PARTS, rows.tolist(), positives.tolist(), strict=True):
        if found in (0, total):
            interval = assignment.intervals[name]
            what = "no rows" if not total else "no positives" if not found else "positives only"
            raise DataError(
                f"features: {name} ({interval.start:%Y-%m-%d} to {interval.end - timedelta(microseconds=1):%Y-%m-%d}) has "
                f"{what} of {assignment.label!r} ({found:,} of {total:,} rows): choose other days in the split, or check "
                "the label"
            )
    return dict(zip(PARTS, rows.tolist(), strict=True)), dict(zip(PARTS, positives.tolist(), strict=True))


def _positive(label: pa.ChunkedArray) -> np.ndarray:
    return encode_numbers(label) == 1


# ---- the features --------------------------------------------------------------------------------------------------


def _fit(definition: FeatureDefinition, table: Table, train: Interval) -> FeatureDefinition:
    strings = list(definition.strings)
    if not strings:
        return definition
    time = pc.field(table.data.time)
    return definition.fitted(tables.load(table, strings, (time >= train.start) & (time < train.end)))


def _write(config: FeaturesConfig, run: Run, plan: _Plan, table: Table) -> Table:
    """Compute and commit the feature table: in this process when small, else on Ray; the rows are the same."""
    name = f"{table.name.rpartition('.')[0] or run.recipe}.features"
    data, sources = _schema(plan), {table.name: table.snapshot}
    reach = _reach(plan)
    if table.rows <= config.in_process_rows:
        history = tables.load(table, plan.read, reach)
        return tables.write_arrow(plan.finish(plan.definition.compute(history)), name, run, data=data, sources=sources)
    return tables.write(_dataset(plan, table, reach), name, run, data=data, sources=sources)


def _reach(plan: _Plan) -> pads.Expression:
    """The events that can matter: those of the split and as far back as its windows look."""
    definition, intervals = plan.definition, plan.assignment.intervals.values()
    time = pc.field(definition.data.time)
    reach = time < max(interval.end for interval in intervals)
    if definition.reach_us is None:
        return reach
    back = timedelta(microseconds=definition.reach_us)
    return reach & (time >= min(interval.start for interval in intervals) - back)


def _dataset(plan: _Plan, table: Table, reach: pads.Expression) -> "ray.data.Dataset":
    """The feature table as a plan for Ray."""
    definition, intervals = plan.definition, plan.assignment.intervals.values()
    start, end = min(interval.start for interval in intervals), max(interval.end for interval in intervals)
    found = slices(tables.paths(table), definition, microseconds(start), microseconds(end))
    if found:
        rows = add_windows_by_slices(tables.paths(table), plan.read, definition, found)
    else:
        rows = tables.read(table, plan.read).map_batches(
            partial(_within, reach), batch_size=None, batch_format="pyarrow", zero_copy_batch=True
        )
        rows = add_windows(rows, definition, table.rows)
    return rows.map_batches(
        lambda batch: plan.finish(definition.add_calendar(batch)), batch_size=None, batch_format="pyarrow"
    )


def slices(paths: Sequence[str], definition: FeatureDefinition, start: int, end: int) -> list[TimeSlice]:
    """How to cut the events of Parquet files at `start <= time < end` (microseconds) for their windows; none where an
    exchange is faster, or the windows look back without an end."""
    reach, time = definition.reach_us, definition.data.time
    if not definition.windows or reach is None:
        return []
    batches = tables.opened(paths).to_batches(columns=[time])
    times = (integer_times(pa.chunked_array([batch[time]])) for batch in batches)
    row = BYTES_PER_COLUMN * len(definition.needed) + BYTES_PER_FEATURE * len(definition.computed)
    histogram = Histogram.of(times, start - reach, end)
    return plan_slices(histogram, start, reach, Room.of_cluster(row), shuffles=len(shuffles(definition.entities)))


def add_windows_by_slices(
    paths: Sequence[str], columns: Sequence[str], definition: FeatureDefinition, slices: Sequence[TimeSlice]
) -> "ray.data.Dataset":
    """Some columns of Parquet files with their window columns (float32), the rows of some slices of time."""
    work = partial(_add_windows, definition, definition.windows)
    return sliced(paths, columns, definition.data.time, slices, work)


def add_windows(rows: "ray.data.Dataset", definition: FeatureDefinition, count: int) -> "ray.data.Dataset":
    """A data set of some `count` rows with its window columns (float32): one shuffle for each entity that is not whole
    in the partitions before it, then all its windows in one step."""
    import ray

    if not definition.windows:
        return rows
    partitions = max(2, int(ray.cluster_resources().get("CPU", 1)), -(-count // ROWS_PER_PARTITION))
    steps = []
    for keys, entities in shuffles(definition.entities):
        windows = tuple(window for one in entities for window in definition.windows_of(one))
        steps.append((keys, partial(_add_windows, definition, windows)))
    return exchanged(rows, steps, partitions)


def shuffles(entities: Sequence[tuple[str, ...]]) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """What to partition by, in turn, and the entities whose windows are whole in each: a partition by card also keeps
    the events of (card, shop) together."""
    found: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = []
    for entity in sorted(entities, key=lambda columns: (len(columns), entities.index(columns))):
        fitting = next((members for keys, members in found if set(keys) <= set(entity)), None)
        if fitting is None:
            found.append((entity, [entity]))
        else:
            fitting.append(entity)
    return found


def _within(reach: pads.Expression, batch: pa.Table) -> pa.Table:
    return batch.filter(reach)


def _add_windows(
    definition: FeatureDefinition, windows: Sequence[Window], rows: pa.Table, wanted: np.ndarray | None = None
) -> pa.Table:
    """The windows of whole entities, already in the precision of the feature table: half the bytes to shuffle."""
    return definition.add_windows(rows, windows, output=Output(np.float32, wanted))


def _schema(plan: _Plan) -> Schema:
    """The declared shape of the feature table."""
    data, definition = plan.definition.data, plan.definition
    features = (Column(name=name, type="float64", nullable=True) for name in definition.names if name not in plan.kept)
    return Schema(
        columns=(
            *(data.column(name) for name in plan.kept),
            *features,
            Column(name=SPLIT, type="string", domain=PARTS),
        ),
        key=data.key,
        time=data.time,
        label=data.label,
        amount=data.amount,
        entities=data.entities,
    )


def _scan(table: Table, columns: list[str], only: pads.Expression | None = None) -> Iterator[pa.Table]:
    """Some columns of a table, batch by batch, so that no column has to fit into memory."""
    found = [files.filesystem(path) for path in tables.paths(table)]
    data = pads.dataset([path for _, path in found], format="parquet", filesystem=found[0][0])
    yield from (pa.Table.from_batches([batch]) for batch in data.to_batches(columns=columns, filter=only))
