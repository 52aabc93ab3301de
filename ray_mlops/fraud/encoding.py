"""From raw feature columns to the numbers a model reads: numbers as they are, strings by what train rows taught."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ray_mlops.fraud.windows import DAY_US

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

CalendarPart = Literal["hour", "weekday", "month", "night", "weekend"]
ONE_HOT_LIMIT = 16  # a string column of more values becomes one number, the share of its value in train


def learn(column: pa.ChunkedArray) -> tuple[tuple[str, ...], dict[str, float]]:
    """What a string column teaches: (values, {}) where few enough for one-hot, else ((), share of rows by value)."""
    counts = pc.value_counts(column.combine_chunks().drop_null())
    seen = dict(sorted(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)))
    if len(seen) <= ONE_HOT_LIMIT:
        return tuple(seen), {}
    rows = sum(seen.values())
    return (), {value: count / rows for value, count in seen.items()}


def encode_strings(column: pa.ChunkedArray, values: Sequence[str], shares: Mapping[str, float]) -> np.ndarray:
    """A string column as float32 `(rows, columns)`: one-hot over `values`, or the train share; null is NaN."""
    if shares:
        known = pc.index_in(column, value_set=pa.array(list(shares), pa.string()))
        table = np.array([*shares.values(), 0.0], np.float32)
        codes = known.fill_null(-1).to_numpy()
        encoded = table[codes][:, None]
    else:
        known = pc.index_in(column, value_set=pa.array(values, pa.string()))
        encoded = (known.fill_null(-1).to_numpy()[:, None] == np.arange(len(values))).astype(np.float32)
    encoded[column.is_null().to_numpy()] = np.nan
    return encoded


def encode_string(value: str | None, values: Sequence[str], shares: Mapping[str, float]) -> list[float]:
    """`encode_strings` for one value."""
    if shares:
        return [math.nan if value is None else shares.get(value, 0.0)]
    return [math.nan if value is None else float(value == known) for known in values]


def encode_numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A numeric or boolean column as float64 `(rows,)`; null is NaN."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.cast(pa.float64()).to_numpy()


def integer_times(column: pa.ChunkedArray) -> np.ndarray:
    """A timestamp column as int64 microseconds since the epoch, UTC."""
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    return column.cast(pa.timestamp("us", tz=zone)).cast(pa.int64()).to_numpy()


def integer_time(at: datetime | int) -> int:
    """One event time as integer microseconds since the epoch; a time without a zone is UTC."""
    if isinstance(at, int):
        return at
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    whole = aware.astimezone(UTC).replace(tzinfo=None)
    return int(np.datetime64(whole, "us").astype(np.int64))


def calendar_columns(parts: Sequence[CalendarPart], times: np.ndarray, timezone: str) -> np.ndarray:
    """The calendar features of event times (int64 microseconds, UTC), read on the wall clock of `timezone`.

    float64 `(rows, parts)`: hour 0-23, weekday 0 (Monday) to 6, month 1-12, night 1 where hour <= 6, weekend 1 on
    Saturday and Sunday.
    """
    local = _wall_clock(times, timezone)
    hour = local // 3_600_000_000 % 24
    weekday = (local // DAY_US + 3) % 7  # the epoch was a Thursday
    columns = np.empty((len(times), len(parts)))
    for index, part in enumerate(parts):
        if part == "month":
            columns[:, index] = local.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12 + 1
        else:
            columns[:, index] = {"hour": hour, "weekday": weekday, "night": hour <= 6, "weekend": weekday >= 5}[part]
    return columns


def _wall_clock(times: np.ndarray, timezone: str) -> np.ndarray:
    if timezone == "UTC":
        return times
    return pc.local_timestamp(pa.array(times).cast(pa.timestamp("us", tz=timezone))).cast(pa.int64()).to_numpy()
