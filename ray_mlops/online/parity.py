"""The proof that there is no skew: rows of a table go through the online path in order, and every feature is compared
with the batch result, before and after it is encoded for the model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ray_mlops.contract import Frozen, Progress, Table, no_progress
from ray_mlops.fraud.encoding import encode_numbers
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.online.backfill import recent, times_of
from ray_mlops.online.replay import Reader, replay
from ray_mlops.online.scratch import scratch_store
from ray_mlops.platform import tables

RELATIVE = 1e-9  # of sums and what is made of them; everything else is equal to the last bit
RELATIVE_ENCODED = 2.0**-23  # two sums that near may be rounded to neighbours in float32
SUMMED = frozenset({"sum", "mean", "std", "ratio", "geometric_ratio", "zscore"})
ROWS_PER_BATCH = 1_000


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


@dataclass(frozen=True)
class _Values:
    """The same columns from both sides, `(rows, columns)`; `tolerance` is for those that are summed."""

    names: tuple[str, ...]
    batch: np.ndarray
    online: np.ndarray
    tolerance: float

    def differ(self, summed: set[str]) -> np.ndarray:
        same = (self.batch == self.online) | (np.isnan(self.batch) & np.isnan(self.online))
        with np.errstate(invalid="ignore"):
            near = np.abs(self.batch - self.online) <= self.tolerance * np.maximum(abs(self.batch), abs(self.online))
        return ~same & ~(near & np.array([name in summed for name in self.names], bool))


def parity(
    definition: FeatureDefinition,
    table: pa.Table | Table,
    rows: int | None = None,
    *,
    url: str = "memory://",
    rows_per_batch: int = ROWS_PER_BATCH,
    read: Reader = lambda rows: rows,
    progress: Progress = no_progress,
) -> ParityReport:
    """Replay the last `rows` rows (default: all) after those before them through an empty store, and compare each
    feature with `definition.compute` and each encoded row with `definition.encode`.

    `url` says of which kind the store is, and on which server; what is stored there is not touched. `read` makes events
    of rows. Strings are compared encoded only.
    """
    ordered = _read(definition, table, rows)
    start = 0 if rows is None else max(ordered.num_rows - rows, 0)
    names = _numbers(definition)
    computed = definition.compute(ordered).slice(start)
    features = np.column_stack([encode_numbers(computed[name]) for name in names]).reshape(len(computed), len(names))
    encoded = definition.encode(computed)
    online = _Values(names, features, np.empty_like(features), RELATIVE)
    vectors = _Values(definition.names, encoded, np.empty_like(encoded), RELATIVE_ENCODED)
    with scratch_store(url, definition) as store:
        for place, seen, made in replay(store, ordered, start, rows_per_batch=rows_per_batch, read=read):
            online.online[place : place + len(seen)] = [[one[name] for name in names] for one in seen]
            vectors.online[place : place + len(made)] = made
            progress(place + len(seen), len(computed), "rows")
    return _compare(definition, ordered.slice(start), start, (online, vectors))


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


def _numbers(definition: FeatureDefinition) -> tuple[str, ...]:
    """The features that are numbers before encoding."""
    inputs = tuple(name for name in definition.inputs if name not in definition.strings)
    return (*inputs, *definition.computed)


def _compare(
    definition: FeatureDefinition, rows: pa.Table, history: int, values: tuple[_Values, _Values]
) -> ParityReport:
    summed, (plain, encoded) = _summed(definition), values
    before, after = plain.differ(summed), encoded.differ(summed)
    for place, name in enumerate(plain.names):
        if name in encoded.names:  # a feature that differs is counted once
            after[:, encoded.names.index(name)] &= ~before[:, place]
    counts: dict[str, int] = {}
    for block, differs in ((plain, before), (encoded, after)):
        for name, count in zip(block.names, differs.sum(axis=0).tolist(), strict=True):
            counts[name] = counts.get(name, 0) + count
    wrong = sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])
    found = [_first(definition, rows, block, differs) for block, differs in ((plain, before), (encoded, after))]
    return ParityReport(
        rows=rows.num_rows,
        history=history,
        features=len(definition.names),
        mismatches=sum(counts.values()),
        columns={name: counts[name] for name in wrong},
        first=min((skew for skew in found if skew), key=lambda skew: skew.row, default=None),
    )


def _first(definition: FeatureDefinition, rows: pa.Table, values: _Values, differs: np.ndarray) -> Skew | None:
    if not differs.any():
        return None
    row, column = (int(place) for place in np.argwhere(differs)[0])
    name, data = values.names[column], definition.data
    entities = next((window.entities for window in definition.windows if name in window.names()), data.entities)
    return Skew(
        column=name,
        entity=", ".join(f"{each} {rows[each][row].as_py()}" for each in entities if each in rows.column_names),
        row=row,
        key=rows[data.key][row].as_py(),
        batch=float(values.batch[row, column]),
        online=float(values.online[row, column]),
    )


def _summed(definition: FeatureDefinition) -> set[str]:
    aggregates = ((w, aggregate) for w in definition.windows for _ in w.spans for aggregate in w.aggregates)
    names = (name for window in definition.windows for name in window.names())
    return {name for name, (_, aggregate) in zip(names, aggregates, strict=True) if aggregate in SUMMED}
