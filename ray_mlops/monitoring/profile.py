"""What one pass over a table of events collects: partial statistics of a block of rows, and how they merge.

Merging is exact and independent of order and of how the rows were cut into blocks (see `statistics`); nothing here
needs Ray.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa

from ray_mlops.contract import ColumnType, Schema
from ray_mlops.fraud.encoding import CalendarPart, calendar_columns, integer_times
from ray_mlops.fraud.windows import DAY_US
from ray_mlops.monitoring.statistics import Bins, ExactSum, Moments, Tally, mixed

Kind = Literal["number", "time", "text", "entity"]
CALENDAR: Mapping[CalendarPart, int] = {"hour": 24, "weekday": 7, "month": 13}
KINDS: Mapping[ColumnType, Kind] = {
    "int64": "number",
    "float64": "number",
    "bool": "number",
    "string": "text",
    "timestamp": "time",
}
NOTHING = ExactSum()


@dataclass(frozen=True)
class Plan:
    """What to collect. `offsets` are the least values of numeric columns (0 where unknown), from which bins are laid;
    the limits bound how many distinct values of a column, of an entity, and how many distinct rows are remembered."""

    data: Schema
    offsets: Mapping[str, float]
    column_limit: int = 1 << 16
    entity_limit: int = 1 << 18
    row_limit: int = 1 << 22

    def kind(self, name: str) -> Kind:
        """How a column is read."""
        declared = self.data.column(name).type
        if name in self.data.entities:
            return "entity"
        return KINDS[declared]

    @property
    def described(self) -> tuple[str, ...]:
        """The columns that get statistics of their own: all but the key, the event time and the label."""
        return tuple(name for name in self.data.names if name not in (self.data.key, self.data.time, self.data.label))


@dataclass(frozen=True)
class ColumnPart:
    """One column of some rows. `missing` and `missing_positives` count nulls, NaN and infinities."""

    missing: int
    missing_positives: int
    tally: Tally
    moments: Moments | None = None
    bins: Bins | None = None

    @classmethod
    def merged(cls, parts: Sequence["ColumnPart"]) -> "ColumnPart":
        moments = [part.moments for part in parts if part.moments]
        bins = [part.bins for part in parts if part.bins]
        return cls(
            sum(part.missing for part in parts),
            sum(part.missing_positives for part in parts),
            Tally.merged([part.tally for part in parts]),
            Moments.merged(moments) if moments else None,
            Bins.merged(bins) if bins else None,
        )


@dataclass(frozen=True)
class Day:
    """One day of events (UTC), by count and by amount."""

    rows: int = 0
    positives: int = 0
    amount: ExactSum = NOTHING
    lost: ExactSum = NOTHING

    def __add__(self, other: "Day") -> "Day":
        return Day(
            self.rows + other.rows,
            self.positives + other.positives,
            self.amount + other.amount,
            self.lost + other.lost,
        )


@dataclass(frozen=True)
class TablePart:
    """Some rows of a table. `days` are keyed by days since the epoch, `calendar` holds `(2, size)` rows and positives
    per part of the wall clock, `repeats` tallies rows that agree in everything but the key."""

    rows: int
    positives: int
    first: int
    last: int
    columns: Mapping[str, ColumnPart]
    days: Mapping[int, Day]
    calendar: Mapping[CalendarPart, np.ndarray]
    repeats: Tally

    @classmethod
    def of(cls, batch: pa.Table, plan: Plan) -> "TablePart":
        """The statistics of one block, which must not be empty."""
        data = plan.data
        labels = np.nan_to_num(batch.column(data.label).to_numpy(zero_copy_only=False).astype(np.float64)) > 0
        times = integer_times(batch.column(data.time))
        words = {name: _words(batch.column(name)) for name in data.names if name != data.key}
        columns = {name: _column(batch.column(name), words[name], labels, plan, name) for name in plan.described}
        rows = _row_words([words[name].of_rows() for name in sorted(words)])
        none = np.zeros(len(rows), np.int64)
        amounts = _amounts(batch, data.amount)
        return cls(
            batch.num_rows, int(labels.sum()), int(times.min()), int(times.max()), columns,
            _days(times, labels, amounts), _calendar(times, labels, data.timezone),
            Tally.of(rows, none + 1, positives=none, limit=plan.row_limit),
        )  # fmt: skip

    @classmethod
    def merged(cls, parts: Sequence["TablePart"]) -> "TablePart":
        days: dict[int, Day] = {}
        for part in parts:
            for day, found in part.days.items():
                days[day] = days.get(day, Day()) + found
        return cls(
            sum(part.rows for part in parts),
            sum(part.positives for part in parts),
            min(part.first for part in parts),
            max(part.last for part in parts),
            {name: ColumnPart.merged([part.columns[name] for part in parts]) for name in parts[0].columns},
            dict(sorted(days.items())),
            {name: np.sum([part.calendar[name] for part in parts], axis=0) for name in parts[0].calendar},
            Tally.merged([part.repeats for part in parts]),
        )


@dataclass(frozen=True)
class _Words:
    """A column as 64-bit hashes of its distinct (text) or single (other) values, with the values and who has them."""

    valid: np.ndarray
    hashes: np.ndarray
    values: np.ndarray
    codes: np.ndarray | None = None

    def of_rows(self) -> np.ndarray:
        """One hash per row, 0 where the value is missing."""
        rows = np.zeros(len(self.valid), np.uint64)
        rows[self.valid] = self.hashes if self.codes is None else self.hashes[self.codes]
        return rows

    def tally(self, positives: np.ndarray, limit: int) -> Tally:
        """Tally the valid rows; `positives` are their 0/1 labels."""
        if self.codes is None:
            ones = np.ones(len(positives), np.int64)
            return Tally.of(self.hashes, ones, positives=positives, limit=limit, values=self.values)
        counts = np.bincount(self.codes, minlength=len(self.values))
        hits = np.bincount(self.codes, weights=positives, minlength=len(self.values))
        return Tally.of(self.hashes, counts, positives=hits, limit=limit, values=self.values)


def _words(column: pa.ChunkedArray) -> _Words:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _text_words(column)
    valid = column.is_valid().to_numpy().astype(bool)
    if pa.types.is_timestamp(column.type):
        values = integer_times(column.drop_null())
    else:
        values = column.drop_null().to_numpy()
    if values.dtype.kind != "f":
        values = values.astype(np.int64)
        return _Words(valid, mixed(values), values)
    finite = np.isfinite(values)
    valid[np.flatnonzero(valid)[~finite]] = False
    values = values[finite].astype(np.float64) + 0.0  # one zero, not two
    return _Words(valid, mixed(values.view(np.int64)), values)


def _text_words(column: pa.ChunkedArray) -> _Words:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    texts = encoded.dictionary.to_pylist()
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    codes = encoded.indices.drop_null().to_numpy()
    valid = encoded.is_valid().to_numpy(zero_copy_only=False)
    return _Words(valid, np.frombuffer(digests, np.uint64), np.array(texts, dtype=object), codes)


def _column(column: pa.ChunkedArray, words: _Words, labels: np.ndarray, plan: Plan, name: str) -> ColumnPart:
    kind = plan.kind(name)
    positives = labels[words.valid].astype(np.int64)
    missing = ~words.valid
    counted = int(missing.sum()), int(labels[missing].sum())
    tally = words.tally(positives, plan.entity_limit if kind == "entity" else plan.column_limit)
    if kind in ("text", "entity"):
        return ColumnPart(*counted, tally)
    values = words.values.astype(np.float64)
    return ColumnPart(*counted, tally, Moments.of(values), Bins.of(values, positives, plan.offsets.get(name, 0.0)))


def _row_words(columns: Sequence[np.ndarray]) -> np.ndarray:
    rows = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        rows = mixed(rows * np.uint64(0x9E3779B97F4A7C15) + column)
    return rows


def _amounts(batch: pa.Table, name: str | None) -> np.ndarray:
    if name is None:
        return np.zeros(batch.num_rows)
    return np.nan_to_num(batch.column(name).cast(pa.float64()).to_numpy(), posinf=0.0, neginf=0.0)


def _days(times: np.ndarray, labels: np.ndarray, amounts: np.ndarray) -> dict[int, Day]:
    days = times // DAY_US
    order = np.argsort(days)
    days, labels, amounts = days[order], labels[order], amounts[order]
    starts = np.flatnonzero(np.concatenate(([True], days[1:] != days[:-1])))
    found = {}
    for start, end in pairwise([*starts.tolist(), len(days)]):
        hits, money = labels[start:end], amounts[start:end]
        found[int(days[start])] = Day(end - start, int(hits.sum()), ExactSum.of(money), ExactSum.of(money[hits]))
    return found


def _calendar(times: np.ndarray, labels: np.ndarray, timezone: str) -> dict[CalendarPart, np.ndarray]:
    columns = calendar_columns(tuple(CALENDAR), times, timezone).astype(np.int64)
    counted: dict[CalendarPart, np.ndarray] = {}
    for index, (name, size) in enumerate(CALENDAR.items()):
        part = columns[:, index]
        counted[name] = np.stack([np.bincount(part, minlength=size), np.bincount(part[labels], minlength=size)])
    return counted
