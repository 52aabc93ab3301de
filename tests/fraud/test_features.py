"""The feature definition: what it refuses, what it needs, and one encoding for tables and single events."""

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.contract import Column, Schema
from ray_mlops.errors import ConfigError
from ray_mlops.fraud.features import FeatureDefinition, FeaturesConfig, Window

COLUMNS = {
    "id": "string",
    "time": "timestamp",
    "card": "string",
    "shop": "int64",
    "amount": "float64",
    "online": "bool",
    "country": "string",
    "merchant": "string",
    "fraud": "int64",
}
DATA = Schema(
    columns=tuple(Column(name=name, type=kind, nullable=True) for name, kind in COLUMNS.items()),
    key="id",
    time="time",
    label="fraud",
    entities=("card",),
)
LATE = DATA.model_copy(
    update={"columns": (*DATA.columns, Column(name="known", type="timestamp")), "label_time": "known"}
)
CONFIG = FeaturesConfig(
    inputs=("amount", "online", "country", "merchant"),
    calendar=("hour", "weekday", "month", "night", "weekend"),
    windows=(
        Window(entity="card", value="amount", spans=(1, 7), aggregates=("count", "mean", "max", "ratio")),
        Window(entity="card", value="merchant", spans=(7,), aggregates=("distinct",)),
        Window(entity="shop", value="fraud", spans=(30,), aggregates=("mean", "last"), delay=7),
    ),
)
DEFINITION = FeatureDefinition.of(CONFIG, DATA)

events = st.lists(
    st.fixed_dictionaries(
        {
            "time": st.datetimes(datetime(1969, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
            "card": st.sampled_from(["a", "b", None]),
            "shop": st.none() | st.integers(-5, 5),
            "amount": st.none() | st.floats(-1e6, 1e6),
            "online": st.none() | st.booleans(),
            "country": st.none() | st.sampled_from(["DE", "FR", "a b=c"]),
            "merchant": st.none() | st.integers(0, 60).map(str),
            "fraud": st.integers(0, 1),
        }
    ),
    min_size=1,
    max_size=40,
)


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    types = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema([(name, types.get(kind, pa.timestamp("us", tz="UTC"))) for name, kind in COLUMNS.items()])
    return pa.Table.from_pylist([{"id": f"{i:03}", **row} for i, row in enumerate(rows)], schema)


@given(events, events)
@settings(deadline=None)
def test_a_single_event_is_encoded_as_in_a_table(train: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    definition = DEFINITION.fitted(as_table(train))
    computed = definition.compute(as_table(rows))
    matrix = definition.encode(computed)
    assert matrix.shape == (len(rows), len(definition.names)) and matrix.dtype == np.float32
    for row, event in zip(matrix, computed.to_pylist(), strict=True):
        np.testing.assert_array_equal(definition.vector(event, event), row)


@given(events)
@settings(deadline=None, max_examples=20)
def test_json_carries_everything(train: list[dict[str, Any]]) -> None:
    definition = DEFINITION.fitted(as_table(train))
    again = FeatureDefinition.model_validate_json(definition.model_dump_json())
    assert again == definition and again.names == definition.names
    computed = definition.compute(as_table(train))
    np.testing.assert_array_equal(again.encode(computed), definition.encode(computed))


def test_few_values_are_one_hot_and_many_become_their_share() -> None:
    rows = [{"country": country, "merchant": str(i % 20)} for i, country in enumerate(["DE", "FR"] * 20)]
    definition = DEFINITION.fitted(as_table(rows))
    assert definition.names[:5] == ("amount", "online", "country=DE", "country=FR", "merchant_frequency")
    unseen = {"time": datetime(2024, 1, 6, 6, 30), "country": "IT", "merchant": "x", "amount": None, "online": True}
    known = {**unseen, "country": "FR", "merchant": "3", "amount": 2.0}
    windows = dict.fromkeys(DEFINITION.computed, 0.0)
    np.testing.assert_array_equal(definition.vector(unseen, windows)[:5], [math.nan, 1, 0, 0, 0])
    np.testing.assert_array_equal(definition.vector(known, windows)[:5], np.float32([2, 1, 0, 1, 0.05]))
    assert definition.vector(known, windows)[5:10].tolist() == [6, 5, 1, 1, 1]  # a Saturday, half past six
    assert definition.fitted(as_table([{"country": "IT"}])).vocabulary["country"] == ("IT",)


def test_the_calendar_is_read_on_the_clock_of_the_data() -> None:
    summer = {"time": datetime(2024, 6, 30, 22, 30, tzinfo=UTC)}
    berlin = DATA.model_copy(update={"timezone": "Europe/Berlin"})
    found = FeatureDefinition.of(FeaturesConfig(calendar=CONFIG.calendar), berlin).vector(summer, {})
    assert found.tolist() == [0, 0, 7, 1, 0]  # half past midnight on Monday, 1 July


def test_needed_are_the_columns_to_read_and_asked_those_of_a_request() -> None:
    assert DEFINITION.needed == ("id", "time", "card", "shop", "amount", "online", "country", "merchant", "fraud")
    assert DEFINITION.asked == DEFINITION.needed[:-1]
    late = FeatureDefinition.of(FeaturesConfig(windows=CONFIG.windows), LATE)
    assert late.needed[-2:] == ("fraud", "known") and "known" not in late.asked
    assert FeatureDefinition.of(FeaturesConfig(inputs=("amount",)), DATA).needed == ("id", "time", "amount")


def test_a_label_window_without_a_delay_needs_label_times() -> None:
    windows = (Window(entity="card", value="fraud", spans=(1,), aggregates=("mean",)),)
    assert FeatureDefinition.of(FeaturesConfig(windows=windows), LATE).arrival(windows[0]) == "known"
    with pytest.raises(ConfigError, match="give the answer away"):
        FeatureDefinition.of(FeaturesConfig(windows=windows), DATA)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"inputs": ("amonut",)}, "input 'amonut' is not a column of the data; did you mean 'amount'"),
        ({"inputs": ("fraud",)}, "is the answer"),
        ({"inputs": ("id",)}, "identifies or dates"),
        ({"inputs": ("amount", "amount")}, "made twice"),
        ({"windows": ({"entity": "cards", "spans": (1,)},)}, "window entity 'cards' .* did you mean 'card'"),
        ({"windows": ({"entity": "card", "value": "x", "spans": (1,)},)}, "window value 'x'"),
        ({"windows": ({"entity": "card", "spans": (1,)}, {"entity": "card", "spans": (1,), "delay": 1})}, "prefix"),
        (
            {"windows": ({"entity": "card", "value": "country", "spans": (1,), "aggregates": ("max",)},)},
            "cannot be added or compared",
        ),
        (
            {"windows": ({"entity": "card", "value": "fraud", "spans": (1,), "aggregates": ("ratio",), "delay": 1},)},
            "reads the label of the event itself",
        ),
    ],
)
def test_a_definition_that_cannot_work_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FeatureDefinition.of(FeaturesConfig.model_validate(config), DATA)
