"""Values are cast one by one: what does not fit is null, with its text in `_error`."""

from datetime import UTC, date, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.contract import Column, ColumnType, Schema
from ray_mlops.platform.casting import Unreadable, cast, infer, unreadable_rows
from ray_mlops.platform.clock import Clock


def schema(kind: ColumnType) -> Schema:
    columns = (Column(name="key", type="int64"), Column(name="time", type="timestamp"), Column(name="x", type=kind))
    return Schema(columns=(*columns, Column(name="y", type="int64")), key="key", time="time", label="y")


def cast_x(values: Any, kind: ColumnType) -> tuple[list, list[str | None]]:
    """The cast values of column x, and the text of each one that could not be cast."""
    x = values if isinstance(values, pa.Array) else pa.array(values)
    rows = len(x)
    table = pa.table({"key": range(rows), "time": pa.array([0] * rows, pa.timestamp("us")), "x": x, "y": [0] * rows})
    done = cast(table, schema(kind), Clock())
    errors = [orjson.loads(text)["values"]["x"] if text else None for text in done.column("_error").to_pylist()]
    return done.column("x").to_pylist(), errors


@pytest.mark.parametrize(
    ("values", "kind", "good", "bad"),
    [
        (["1", " 2 ", "+3", "4.0", "abc", "1.5", "1e3", None], "int64", [1, 2, 3, 4, None, None, None, None], "abc 1.5 1e3"),
        (["9007199254740993.0", "x"], "int64", [9007199254740993, None], "x"),
        (["99999999999999999999"], "int64", [None], "99999999999999999999"),
        ([1.0, float("nan"), 2.5, float("inf")], "int64", [1, None, None, None], "2.5 inf"),
        ([True, False], "int64", [1, 0], ""),
        (["1.5", "-2e3", ".5", "1,5", ""], "float64", [1.5, -2000.0, 0.5, None, None], "1,5 "),
        ([1, None], "float64", [1.0, None], ""),
        ([2**60 + 1], "float64", [None], str(2**60 + 1)),
        (["true", "FALSE", "1", "no"], "bool", [True, False, True, None], "no"),
        ([0, 1, 2], "bool", [False, True, None], "2"),
        ([1, 2], "string", ["1", "2"], ""),
        (["a", None], "string", ["a", None], ""),
        ([b"a", b"\xff"], "string", ["a", "\\xff"], ""),
        ([{"a": 1}, None], "string", [None, None], '{"a":1}'),
        ([[1]], "float64", [None], "[1]"),
        ([date(2020, 1, 1)], "int64", [None], "2020-01-01"),
        ([1], "timestamp", [None], "1"),
        (["2020-01-01", "2020-02-30", "soon"], "timestamp", [datetime(2020, 1, 1, tzinfo=UTC), None, None], "2020-02-30 soon"),
    ],
)  # fmt: skip
def test_each_value_on_its_own(values: list, kind: ColumnType, good: list, bad: str) -> None:
    found, errors = cast_x(values, kind)
    assert found == good
    assert [text for text in errors if text is not None] == (bad.split(" ") if bad else [])


def test_nan_stays_a_float_for_clean_to_judge() -> None:
    found, errors = cast_x(["nan", "-inf"], "float64")
    assert found[0] != found[0] and found[1] == float("-inf") and errors == [None, None]


def test_other_arrow_types_are_plain_values() -> None:
    assert cast_x(pa.array(["1", "x"]).dictionary_encode(), "int64") == ([1, None], [None, "x"])
    assert cast_x(pa.array(["1"], pa.large_string()), "int64") == ([1], [None])
    assert cast_x(pa.array([], pa.int16()), "int64") == ([], [])
    assert cast_x(pa.nulls(2), "timestamp") == ([None, None], [None, None])


def test_a_column_full_of_nonsense_is_one_error_a_row() -> None:
    found, errors = cast_x(["x"] * 20_000, "timestamp")
    assert set(found) == {None} and set(errors) == {"x"}


@pytest.mark.parametrize("kind", ["int64", "float64"])
@pytest.mark.parametrize("text", ["+-0", "+-1", "++1", "1..", ".0.", "1.0.0", "+", "."])
def test_what_only_resembles_a_number_is_none(text: str, kind: ColumnType) -> None:
    assert cast_x([text], kind) == ([None], [text])
    assert cast_x([text, "1"], kind) == ([None, 1], [text, None])


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.text("0123456789.-+eE naif", max_size=8)), max_size=30),
    st.sampled_from(["int64", "float64", "bool", "timestamp"]),
)
def test_a_bad_neighbour_changes_nothing(values: list[str | None], kind: ColumnType) -> None:
    together = cast_x(pa.array(values, pa.string()), kind)
    alone = [cast_x(pa.array([value], pa.string()), kind) for value in values]
    assert repr(together) == repr(
        ([value for found, _ in alone for value in found], [e for _, errors in alone for e in errors])
    )


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.just("x")), max_size=30))
def test_whole_numbers_keep_all_their_digits(values: list[int | str]) -> None:
    found, _ = cast_x(pa.array([str(value) for value in values], pa.string()), "int64")
    assert found == [None if value == "x" else value for value in values]


def test_values_of_mixed_types_become_text() -> None:
    assert infer([1, "a", None, True, {"b": 2}, 1.5]).to_pylist() == ["1", "a", None, "true", '{"b":2}', "1.5"]
    assert infer([2**70, 1]).to_pylist() == [str(2**70), "1"]
    assert infer([1, 2]).type == pa.int64()


def test_an_unreadable_line_is_a_row_of_nulls_that_keeps_its_text() -> None:
    rows = unreadable_rows([Unreadable("f.csv line 3", "2 fields instead of 4", "a,b")], schema("float64"))
    assert rows.select(["key", "time", "x", "y"]).to_pylist() == [{"key": None, "time": None, "x": None, "y": None}]
    error = orjson.loads(rows.column("_error")[0].as_py())
    assert error == {"line": "a,b", "where": "f.csv line 3", "why": "2 fields instead of 4"}
