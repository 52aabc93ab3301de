"""Every row is held against the declared schema; each illegal one has its reasons."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.contract import Column, Schema
from ray_mlops.errors import ConfigError
from ray_mlops.platform.content import ARROW_TYPES
from ray_mlops.platform.validation import CONFLICT, DUPLICATE, check, mark_duplicates, rules

LATEST = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = Schema(
    columns=(
        Column(name="id", type="int64"),
        Column(name="time", type="timestamp"),
        Column(name="amount", type="float64", minimum=0, maximum=100),
        Column(name="place", type="string", nullable=True, domain=("shop", "web")),
        Column(name="age", type="int64", nullable=True, minimum=17.5, maximum=99),
        Column(name="y", type="int64"),
    ),
    key="id",
    time="time",
    label="y",
)
LEGAL = {"id": 1, "time": LATEST, "amount": 5.0, "place": "shop", "age": 30, "y": 0}


def table(*changes: dict, errors: list[str | None] | None = None) -> pa.Table:
    fields = [pa.field(column.name, ARROW_TYPES[column.type]) for column in SCHEMA.columns]
    rows = pa.Table.from_pylist([{**LEGAL, **change} for change in changes], schema=pa.schema(fields))
    return rows if errors is None else rows.append_column("_error", pa.array(errors, pa.string()))


def reasons(rows: pa.Table) -> list[str | None]:
    return check(rows, SCHEMA, LATEST).column("reason").to_pylist()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"place": None, "age": None}, None),
        ({"amount": 0.0}, None),
        ({"amount": 100.0}, None),
        ({"age": 18}, None),
        ({"amount": None}, "amount: missing"),
        ({"amount": float("nan")}, "amount: NaN or infinite"),
        ({"amount": float("-inf")}, "amount: NaN or infinite"),
        ({"amount": -0.01}, "amount: below 0"),
        ({"amount": 100.5}, "amount: above 100"),
        ({"age": 17}, "age: below 17.5"),
        ({"place": "mail"}, "place: not one of shop, web"),
        ({"y": 2}, "y: not one of 0, 1"),
        ({"time": None}, "time: missing"),
        ({"time": LATEST + timedelta(microseconds=1)}, "time: in the future"),
        ({"id": None}, "id: missing"),
        ({"amount": -1.0, "y": None, "age": 200}, "age: above 99; amount: below 0; y: missing"),
    ],
)
def test_each_rule(change: dict, reason: str | None) -> None:
    assert reasons(table({}, change)) == [None, reason]


def test_what_could_not_be_cast_or_read_is_the_reason_and_not_that_it_is_missing() -> None:
    rows = table(
        {"amount": None, "y": 7},
        {name: None for name in SCHEMA.names},
        {},
        errors=['{"values":{"amount":"abc; y: 1"}}', '{"line":"a,b","where":"f","why":"2 fields instead of 6"}', None],
    )
    assert reasons(rows) == [
        "amount: not a float64; y: not one of 0, 1",
        "unreadable line: 2 fields instead of 6",
        None,
    ]


def test_a_column_may_be_called_anything() -> None:
    names = ("filter", "columns", "a b|c", "check")
    columns = (Column(name="filter", type="int64"), Column(name="columns", type="timestamp"))
    columns += (Column(name="a b|c", type="float64", maximum=1), Column(name="check", type="bool"))
    schema = Schema(columns=columns, key="filter", time="columns", label="check")
    rows = pa.table([[1, None], [LATEST, LATEST], [2.0, 1.0], [True, None]], names=names)
    found = check(rows.set_column(1, "columns", rows["columns"].cast(pa.timestamp("us", "UTC"))), schema, LATEST)
    assert found.column("reason").to_pylist() == ["a b|c: above 1", "check: missing; filter: missing"]


def test_a_range_where_there_is_none_is_refused() -> None:
    columns = (*SCHEMA.columns, Column(name="city", type="string", minimum=3))
    with pytest.raises(ConfigError, match=r"column city \(string\): only numbers have a minimum"):
        rules(SCHEMA.model_copy(update={"columns": columns}), LATEST)


def oracle(row: dict) -> bool:
    """Whether a row is legal, said plainly."""
    amount, place, age = row["amount"], row["place"], row["age"]
    return (
        row["id"] is not None
        and amount is not None and math.isfinite(amount) and 0 <= amount <= 100
        and place in (None, "shop", "web")
        and (age is None or 17.5 <= age <= 99)
        and row["y"] in (0, 1)
    )  # fmt: skip


ROW = st.fixed_dictionaries(
    {
        "id": st.one_of(st.none(), st.integers(-5, 5)),
        "amount": st.one_of(st.none(), st.floats(-1, 101, width=32), st.sampled_from([float("nan"), float("inf")])),
        "place": st.sampled_from([None, "shop", "web", "mail"]),
        "age": st.one_of(st.none(), st.integers(15, 101)),
        "y": st.sampled_from([None, 0, 1, 2]),
    }
)


@settings(deadline=None, max_examples=60)
@given(st.lists(ROW, max_size=20))
def test_a_row_is_legal_exactly_when_it_keeps_every_rule(rows: list[dict]) -> None:
    assert [reason is None for reason in reasons(table(*rows))] == [oracle(row) for row in rows]


def marked(*changes: dict) -> list[str | None]:
    return mark_duplicates(check(table(*changes), SCHEMA, LATEST), SCHEMA).column("reason").to_pylist()


def test_the_first_by_time_stays_and_the_others_say_whether_they_differ() -> None:
    early = LATEST - timedelta(days=1)
    assert marked({}, {"id": 2}, {"time": early}, {"time": early}, {"id": 2}) == [
        f"id: {CONFLICT}",
        None,
        None,
        f"id: {DUPLICATE}",
        f"id: {DUPLICATE}",
    ]


def test_at_the_same_time_the_other_columns_decide() -> None:
    assert marked({"place": None}, {"amount": 4.0}, {}) == [f"id: {CONFLICT}", None, f"id: {CONFLICT}"]
    assert marked({"place": None}, {"place": "web"}) == [f"id: {CONFLICT}", None]


def test_a_legal_row_is_not_the_duplicate_of_an_illegal_one() -> None:
    assert marked({"amount": -1.0, "time": LATEST - timedelta(days=9)}, {}) == ["amount: below 0", None]


@settings(deadline=None, max_examples=60)
@given(st.lists(ROW, max_size=20), st.integers(0, 2**32 - 1))
def test_which_rows_stay_does_not_depend_on_their_order(rows: list[dict], seed: int) -> None:
    def kept(some: list[dict]) -> list[str]:
        done = mark_duplicates(check(table(*some), SCHEMA, LATEST), SCHEMA)
        return sorted(repr(row) for row in done.to_pylist() if row["reason"] is None)

    order = np.random.default_rng(seed).permutation(len(rows))
    first = kept(rows)
    assert first == kept([rows[index] for index in order])
    assert len(first) == len({row["id"] for row in rows if oracle(row)})
