"""Small definitions, events and tables for the tests of the online path."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import pyarrow as pa

from ray_mlops.contract import Column, Schema
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.windows import Aggregate, Window

SECOND = 1_000_000
DAY = 86_400 * SECOND
NOON = 1_533_729_600 * SECOND  # 2018-08-08 12:00 UTC
EVERYTHING: tuple[Aggregate, ...] = get_args(Aggregate)
TYPES = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string(), "timestamp": pa.timestamp("us", tz="UTC")}


def schema(*, text_keys: bool = False, label_time: bool = False) -> Schema:
    """Card events: `id`, `at`, `card`, `shop`, `city`, `amount`, `fraud` and, if asked for, `known_at`."""
    columns = [
        Column(name="id", type="string" if text_keys else "int64"),
        Column(name="at", type="timestamp"),
        Column(name="card", type="int64", nullable=True),
        Column(name="shop", type="string", nullable=True),
        Column(name="city", type="string", nullable=True),
        Column(name="amount", type="float64", nullable=True),
        Column(name="fraud", type="int64", nullable=True),
    ]
    if label_time:
        columns.append(Column(name="known_at", type="timestamp", nullable=True))
    return Schema(
        columns=tuple(columns),
        key="id",
        time="at",
        label="fraud",
        amount="amount",
        entities=("card", "shop"),
        label_time="known_at" if label_time else None,
    )


def definition(*windows: Window, **options: bool) -> FeatureDefinition:
    """A definition with the amount, two calendar parts and these windows."""
    made = FeatureDefinition(data=schema(**options), inputs=("amount",), calendar=("hour", "weekend"), windows=windows)
    made.check()
    return made


def card_and_shop(**options: bool) -> FeatureDefinition:
    """The usual features: amounts of the card, delayed risk of the shop."""
    return definition(
        Window(entity="card", value="amount", spans=(1.0, 7.0), aggregates=("count", "mean")),
        Window(entity="shop", value="fraud", spans=(1.0, 30.0), aggregates=("count", "mean"), delay=7.0),
        **options,
    )


def table(data: Schema, events: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Events, with integer times, as a table of the schema."""
    return pa.table({c.name: pa.array([e.get(c.name) for e in events]).cast(TYPES[c.type]) for c in data.columns})


def event(id: int | str, at: Any, **values: Any) -> dict[str, Any]:
    """One event, complete unless told otherwise."""
    return {"id": id, "at": at, "card": 1, "shop": "a", "city": "x", "amount": 10.0, **values}
