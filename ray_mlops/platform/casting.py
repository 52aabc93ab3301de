"""Cast source columns to their declared types, value by value: one bad cell costs its row, never its file.

A value that cannot be cast becomes null, and its text goes into the row's `_error`, a JSON object:
`{"values": {"amount": "abc"}}`, or `{"line": …, "where": …, "why": …}` for a line that could not be read at all.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute

from ray_mlops.contract import ColumnType, Schema
from ray_mlops.platform.clock import Clock, plain
from ray_mlops.platform.content import ARROW_TYPES

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

ERROR, REASON = "_error", "reason"
_SHAPES: dict[ColumnType, str] = {
    "int64": r"^\s*[+-]?\d{1,19}(?:\.0*)?\s*$",
    "float64": r"^\s*[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|(?i:nan|inf(?:inity)?))\s*$",
    "bool": r"^\s*(?i:true|false|[01](?:\.0)?)\s*$",
}


class Unreadable(NamedTuple):
    """A line that is not a row: where it stands, why it was refused, and its text."""

    where: str
    why: str
    text: str


def infer(values: Sequence[Any]) -> pa.Array:
    """Python values as an Arrow array; values of mixed types become text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, (bool, list, dict)):
        return orjson.dumps(value, default=str).decode()
    return value.isoformat() if isinstance(value, (date, datetime)) else str(value)


def cast(table: pa.Table, schema: Schema, clock: Clock) -> pa.Table:
    """The declared columns in their declared types, plus `_error`; the table must hold every declared column."""
    columns: dict[str, pa.Array] = {}
    errors: dict[int, dict[str, str]] = {}
    for column in schema.columns:
        source = plain(table.column(column.name))
        columns[column.name], bad = _tolerant(source, column.type, clock)
        values = source.filter(pa.array(bad)).to_pylist()
        for row, value in zip(np.flatnonzero(bad).tolist(), values, strict=True):
            errors.setdefault(row, {})[column.name] = _text(value)
    columns[ERROR] = _error_column(table.num_rows, errors)
    return pa.table(columns)


def _error_column(rows: int, errors: dict[int, dict[str, str]]) -> pa.Array:
    if not errors:
        return pa.nulls(rows, pa.string())
    texts: list[str | None] = [None] * rows
    for row, values in errors.items():
        texts[row] = orjson.dumps({"values": values}).decode()
    return pa.array(texts, pa.string())


def unreadable_rows(lines: Iterable[Unreadable], schema: Schema) -> pa.Table:
    """One row per line that could not be read: every declared column null, the line itself in `_error`."""
    texts = [orjson.dumps({"line": bad.text, "where": bad.where, "why": bad.why}).decode() for bad in lines]
    columns = {column.name: pa.nulls(len(texts), ARROW_TYPES[column.type]) for column in schema.columns}
    return pa.table({**columns, ERROR: pa.array(texts, pa.string())})


def _tolerant(array: pa.Array, kind: ColumnType, clock: Clock) -> tuple[pa.Array, np.ndarray]:
    """The values that can be cast, cast, and which could not: those are null."""
    try:
        return _convert(array, kind, clock), np.zeros(len(array), dtype=bool)
    except pa.ArrowNotImplementedError:  # the types never fit: every value there is fails
        present = array.is_valid()
        return pa.nulls(len(array), ARROW_TYPES[kind]), present.to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        likely = _well_formed(array, kind, clock)
    cast_, good = _by_halves(pc.if_else(likely, array, pa.scalar(None, array.type)), kind, clock)
    bad = array.is_valid().to_numpy(zero_copy_only=False) & ~(good & likely.to_numpy(zero_copy_only=False))
    return cast_, bad


def _by_halves(array: pa.Array, kind: ColumnType, clock: Clock) -> tuple[pa.Array, np.ndarray]:
    """Halves the array until each value that fails stands alone."""
    parts = [pa.nulls(0, ARROW_TYPES[kind])]
    good = np.ones(len(array), dtype=bool)
    waiting = [(0, len(array))]
    while waiting:
        start, stop = waiting.pop()
        try:
            parts.append(_convert(array.slice(start, stop - start), kind, clock))
        except pa.ArrowInvalid:
            if stop - start == 1:
                good[start] = False
                parts.append(pa.nulls(1, ARROW_TYPES[kind]))
            else:
                middle = (start + stop) // 2
                waiting += [(middle, stop), (start, middle)]
    return pa.concat_arrays(parts), good


def _well_formed(array: pa.Array, kind: ColumnType, clock: Clock) -> pa.Array:
    """Which values look castable, so that a column full of nonsense does not fail one value at a time."""
    if kind == "timestamp" and pa.types.is_string(array.type):
        return clock.well_formed(array)
    if kind == "int64" and pa.types.is_floating(array.type):
        whole = pc.and_(pc.is_finite(array), pc.equal(pc.floor(array), array))
        return pc.fill_null(pc.or_(pc.is_nan(array), whole), True)
    if kind in _SHAPES and (kind == "bool" or pa.types.is_string(array.type)):
        return pc.fill_null(pc.match_substring_regex(array.cast(pa.string()), _SHAPES[kind]), True)
    return pa.array(np.ones(len(array), dtype=bool))


def _convert(array: pa.Array, kind: ColumnType, clock: Clock) -> pa.Array:
    """The array in the declared type; raises when one value does not fit."""
    if pa.types.is_null(array.type):
        return array.cast(ARROW_TYPES[kind])
    if kind == "timestamp":
        return clock.instants(array)
    if kind == "string":
        return array.cast(pa.string())
    if pa.types.is_temporal(array.type):
        raise pa.ArrowNotImplementedError(f"a time is not a {kind}")
    if pa.types.is_string(array.type):
        array = pc.utf8_trim_whitespace(array)
        array = array if kind == "bool" else _numbers(array, kind)
    return _flags(array) if kind == "bool" else _exact(array, kind)


def _numbers(text: pa.Array, kind: ColumnType) -> pa.Array:
    try:
        return text.cast(ARROW_TYPES[kind])
    except pa.ArrowInvalid:  # "12.0" and "+12" are whole numbers too; by way of a float, long ids would lose digits
        plain = pc.replace_substring_regex(text, r"^\+([^+-])", r"\1")  # "+-1" and "1.." are none
        plain = pc.replace_substring_regex(plain, r"(\d)\.0*$", r"\1") if kind == "int64" else plain
        return plain.cast(ARROW_TYPES[kind])


def _exact(array: pa.Array, kind: ColumnType) -> pa.Array:
    if kind == "int64" and pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)  # how pandas writes a missing integer
    return array.cast(ARROW_TYPES[kind])


def _flags(array: pa.Array) -> pa.Array:
    if pa.types.is_boolean(array.type):
        return array
    text = pc.utf8_lower(array.cast(pa.string()))
    yes = pc.is_in(text, pa.array(["true", "1", "1.0"]))
    known = pc.or_(yes, pc.is_in(text, pa.array(["false", "0", "0.0"])))
    if pc.any(pc.and_(text.is_valid(), pc.invert(known))).as_py():
        raise pa.ArrowInvalid("not true or false")
    return pc.if_else(known, yes, pa.scalar(None, pa.bool_()))
