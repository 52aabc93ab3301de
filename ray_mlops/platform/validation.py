"""The declared schema as rules that every row is held against, and the reason for each row that breaks one.

Rules are evaluated by dataframely on polars. A row has one reason per column at most, the first that applies: not
castable, missing, NaN or infinite, out of range, not in the domain, in the future.
"""

import math
import os
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa

from ray_mlops.contract import Column, Schema
from ray_mlops.errors import ConfigError
from ray_mlops.platform.casting import ERROR, REASON

if TYPE_CHECKING:
    import dataframely as dy
    import polars as pl

DUPLICATE = "duplicate"
CONFLICT = "conflicting duplicate"
_ROW = "__row__"
_FUTURE, _DOMAIN = "check__future", "check__domain"
_ORDER = ("nullability", "nan", "inf", "min", "max", _DOMAIN, _FUTURE)


def check(table: pa.Table, schema: Schema, latest: datetime) -> pa.Table:
    """The table with a column `reason`: null for a legal row, else why not (`"amount: missing; time: …"`).

    `latest` is the last event time that is not in the future. A column `_error`, where the table has one, holds what
    could not be cast or read.
    """
    frame = _frame(table.select(list(schema.names)))
    broken = _broken(frame, schema, latest)
    if ERROR in table.column_names:
        texts = table.column(ERROR)
        rows = np.flatnonzero(texts.is_valid().to_numpy())
        for row, text in zip(rows.tolist(), texts.drop_null().to_pylist(), strict=True):
            broken[row] = {**broken.get(row, {}), **_unread(text, schema)}
    reasons: list[str | None] = [None] * table.num_rows
    for row, found in broken.items():
        reasons[row] = found[""] if "" in found else "; ".join(f"{name}: {found[name]}" for name in sorted(found))
    return table.append_column(REASON, pa.array(reasons, pa.string()))


def _frame(table: pa.Table) -> "pl.DataFrame":
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # one per task; Ray runs a task per core
    import polars as pl

    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _broken(frame: "pl.DataFrame", schema: Schema, latest: datetime) -> dict[int, dict[str, str]]:
    """Row number to column to reason, for the rows that break a rule."""
    failed = rules(schema, latest).filter(frame.with_row_index(_ROW)).failure.details()
    found = [name.rpartition("|") for name in failed.columns if name not in (_ROW, *schema.names)]
    broken: dict[int, dict[str, str]] = {}
    for name, bar, kind in sorted(found, key=lambda rule: _ORDER.index(rule[2])):
        for number in failed.filter(failed[f"{name}{bar}{kind}"] == "invalid")[_ROW].to_list():
            broken.setdefault(number, {}).setdefault(name, _reason(schema.column(name), kind, schema))
    return broken


def _unread(text: str, schema: Schema) -> dict[str, str]:
    """Column to reason from `_error`; the reason of a line that could not be read stands for the whole row."""
    error = orjson.loads(text)
    if "line" in error:
        return {"": f"unreadable line: {error['why']}"}
    return {name: f"not a {schema.column(name).type}" for name in error["values"]}


def _reason(column: Column, rule: str, schema: Schema) -> str:
    words: Mapping[str, str] = {
        "nullability": "missing",
        "nan": "NaN or infinite",
        "inf": "NaN or infinite",
        "min": f"below {column.minimum:g}" if column.minimum is not None else "",
        "max": f"above {column.maximum:g}" if column.maximum is not None else "",
        _FUTURE: "in the future",
        _DOMAIN: f"not one of {', '.join(map(str, _domain(column, schema)))}",
    }
    return words[rule].replace(";", ",")  # a semicolon parts the reasons of a row


def _domain(column: Column, schema: Schema) -> tuple[str | int, ...]:
    """The legal values; a label is 0 or 1 whether or not that was declared."""
    if column.domain is not None:
        return column.domain
    return (0, 1) if column.name == schema.label and column.type in ("int64", "float64") else ()


def rules(schema: Schema, latest: datetime) -> "type[dy.Schema]":
    """The schema for dataframely; raises `ConfigError` for a range or a domain that its column's type cannot have."""
    import dataframely as dy

    columns: dict[str, Any] = {"row": dy.UInt32(alias=_ROW)}
    for number, column in enumerate(schema.columns):
        try:
            # The attribute names are our own: a column may be called like a method of dataframely's schema.
            columns[f"column_{number}"] = _rule(column, schema, latest)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"column {column.name} ({column.type}): {error}") from error
    return type("Declared", (dy.Schema,), columns)


def _rule(column: Column, schema: Schema, latest: datetime) -> "dy.Column":
    import dataframely as dy

    domain = _domain(column, schema)
    checks: dict[str, Any] = {"domain": lambda value: value.is_in(domain)} if domain else {}
    options: dict[str, Any] = {
        "alias": column.name,
        "nullable": column.nullable and column.name not in (schema.key, schema.time),
    }
    if column.type == "float64":
        return dy.Float64(**options, min=column.minimum, max=column.maximum, check=checks or None)
    if column.type == "int64":
        low = None if column.minimum is None else math.ceil(column.minimum)
        high = None if column.maximum is None else math.floor(column.maximum)
        return dy.Int64(**options, min=low, max=high, check=checks or None)
    if column.minimum is not None or column.maximum is not None:
        raise ValueError("only numbers have a minimum and a maximum")
    if column.type == "timestamp":
        if column.name == schema.time:
            checks["future"] = lambda value: value <= latest
        return dy.Datetime(**options, time_zone="UTC", time_unit="us", check=checks or None)
    return (dy.Bool if column.type == "bool" else dy.String)(**options, check=checks or None)


def mark_duplicates(table: pa.Table, schema: Schema) -> pa.Table:
    """The table of `check` with a reason for all but one of the legal rows that share a key.

    The first by time, then by the other columns in their order, stays. The others are duplicates, or conflicting ones
    when they differ from it. All rows of a key must be in the table.
    """
    import polars as pl

    rest = [name for name in schema.names if name not in (schema.key, schema.time)]
    order = [schema.key, schema.time, *rest]
    frame = _frame(table.select([*order, REASON])).with_row_index(_ROW)
    again = frame.filter(pl.col(REASON).is_null()).filter(pl.col(schema.key).is_duplicated())
    if again.is_empty():
        return table
    again = again.sort(order, nulls_last=True)
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).first().over(schema.key)) for name in order)
    again = again.with_columns(
        first=pl.col(schema.key).is_first_distinct(),
        why=pl.when(same).then(pl.lit(DUPLICATE)).otherwise(pl.lit(CONFLICT)),
    ).filter(~pl.col("first"))
    reasons = table.column(REASON).to_pylist()
    for row, why in again.select(_ROW, "why").iter_rows():
        reasons[row] = f"{schema.key}: {why}"
    return table.set_column(table.column_names.index(REASON), REASON, pa.array(reasons, pa.string()))
