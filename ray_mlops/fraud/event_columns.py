"""The columns that windows read, out of an Arrow table and as flat numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ray_mlops.fraud.encoding import encode_numbers, integer_times
from ray_mlops.fraud.windows import NEVER, Window

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

Arrival = Callable[[Window], str | None]  # names the column that says when the values of a window became known


@dataclass(frozen=True)
class Columns:
    """One entry a row: times in microseconds, numbers ordered as the keys are (None where the rows are in the order of
    (time, key) already), and by column name the values (float64, NaN is missing), codes of values that only get counted
    (int32, -1 is missing) and the times at which late values arrived (microseconds, `NEVER` is not yet)."""

    times: np.ndarray
    keys: np.ndarray | None
    values: Mapping[str, np.ndarray]
    codes: Mapping[str, np.ndarray]
    arrivals: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, windows: Sequence[Window], table: pa.Table, *, key: str, time: str, arrival: Arrival) -> "Columns":
        from ray_mlops.fraud import window_order as order

        values, codes, arrivals = {}, {}, {}
        for window in windows:
            name = window.value
            if name is None:
                continue
            if (numeric := _is_numeric(table[name].type)) and name not in values:
                values[name] = _finite(encode_numbers(table[name]))
            if name not in codes and (not numeric or "distinct" in window.aggregates):
                codes[name] = _encode(table[name])
            if label_time := arrival(window):
                arrivals[name] = _known_times(table[label_time])
        columns = cls(integer_times(table[time]), _sortable(table[key]), values, codes, arrivals).mapped(_writable)
        return replace(columns, keys=None) if order.is_ordered(columns.times, columns.keys) else columns

    def read_by(self, windows: Sequence[Window]) -> "Columns":
        """The columns which some of the windows read."""
        names = {window.value for window in windows}
        groups = (self.values, self.codes, self.arrivals)
        read = ({name: column for name, column in group.items() if name in names} for group in groups)
        return Columns(self.times, self.keys, *read)

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> "Columns":
        """The same columns, each one changed."""
        groups = (self.values, self.codes, self.arrivals)
        changed = ({name: change(column) for name, column in group.items()} for group in groups)
        return Columns(change(self.times), None if self.keys is None else change(self.keys), *changed)


def encode_entities(columns: Sequence[pa.ChunkedArray]) -> tuple[np.ndarray, int]:
    """(codes, groups): an int32 code below `groups` for each entity, `groups` for rows that lack (part of) it."""
    codes, groups = _encode_entity(columns[0])
    for column in columns[1:]:
        more, count = _encode_entity(column)
        nobody = (codes == groups) | (more == count)
        both = codes.astype(np.int64) * count + more
        codes, groups = _encode_entity(pa.chunked_array([pa.array(both, mask=nobody)]))
    return codes, groups


def _encode_entity(column: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    if pa.types.is_integer(column.type) and len(column) and not column.null_count:
        low, high = (bound.as_py() for bound in pc.min_max(column).values())
        if high - low < 2 * len(column):
            return (column.to_numpy() - low).astype(np.int32), high - low + 1
    codes = _encode(column)
    groups = int(codes.max(initial=-1)) + 1
    return np.where(codes < 0, np.int32(groups), codes), groups


def _encode(column: pa.ChunkedArray) -> np.ndarray:
    """A small number (int32) for each different value, -1 for a missing one."""
    if pa.types.is_floating(column.type):
        column = pc.add(column, 0.0)  # minus zero is zero
    encoded = column.combine_chunks().dictionary_encode()
    return _writable(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False))


def _writable(array: np.ndarray) -> np.ndarray:
    """Numba would compile everything once more for the read-only arrays that Arrow lends."""
    return np.require(array, requirements="W")


def _finite(numbers: np.ndarray) -> np.ndarray:
    finite = np.isfinite(numbers)
    return numbers if finite.all() else np.where(finite, numbers, np.nan)


def _sortable(keys: pa.ChunkedArray) -> np.ndarray:
    """Numbers (int64) that are ordered as the keys are."""
    if pa.types.is_integer(keys.type):
        return keys.cast(pa.int64()).to_numpy()
    return pc.rank(keys, tiebreaker="dense").cast(pa.int64()).to_numpy()


def _known_times(column: pa.ChunkedArray) -> np.ndarray:
    times = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())
    return times.fill_null(NEVER).to_numpy()


def _is_numeric(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
