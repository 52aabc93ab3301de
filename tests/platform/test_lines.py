"""CSV and JSON lines: a bad line costs itself and no other line."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.errors import DataError
from ray_mlops.platform import inputs, lines
from ray_mlops.platform.lines import Dialect, Lines, parse_csv, parse_json
from ray_mlops.platform.spans import Place

CSV = Dialect()
FILE = Place("f.csv", first_line=2)


def csv(text: str | bytes, dialect: Dialect = CSV) -> Lines:
    data = text.encode() if isinstance(text, str) else text
    return parse_csv(data, ("a", "b"), dialect=dialect, place=FILE)


def rows(found: Lines) -> list[tuple]:
    return [tuple(row.values()) for row in found.table.to_pylist()]


def test_rows_are_text_and_empty_values_are_missing() -> None:
    assert rows(csv('1,x\n,"q,r"\n')) == [("1", "x"), (None, "q,r")]
    assert rows(csv("NA;x\r\n", Dialect(delimiter=";", null_values=("NA",)))) == [(None, "x")]


def test_a_line_of_another_width_is_set_aside_with_its_text() -> None:
    found = csv("1,2\n3\n4,5,6\n7,8")
    assert rows(found) == [("1", "2"), ("7", "8")]
    assert [tuple(bad) for bad in found.bad] == [
        ("f.csv line 3", "1 fields instead of 2", "3"),
        ("f.csv line 4", "3 fields instead of 2", "4,5,6"),
    ]


def test_an_open_quote_swallows_no_neighbour() -> None:
    found = csv('1,2\n\n3,"open\n5,6\n7,8\n')
    assert rows(found) == [("1", "2"), ("5", "6"), ("7", "8")]
    assert [tuple(bad) for bad in found.bad] == [("f.csv line 4", "a quote is not closed", '3,"open')]


def test_a_quote_inside_a_value_is_a_value() -> None:
    assert rows(csv('1,5" pipe\n2,x\n')) == [("1", '5" pipe'), ("2", "x")]


def test_a_line_that_breaks_in_two_is_set_aside() -> None:
    found = csv("1,2\n\n3,\r4,5\n6,7\r\n")
    assert rows(found) == [("1", "2"), ("6", "7")]
    assert [tuple(bad) for bad in found.bad] == [("f.csv line 4", "a carriage return inside the line", "3,\r4,5")]


def test_text_in_another_encoding_costs_its_line() -> None:
    found = csv(b"1,a\n2,\xe9\n3,b\n")
    assert rows(found) == [("1", "a"), ("3", "b")]
    assert [tuple(bad) for bad in found.bad] == [("f.csv line 3", "not utf-8 text", "2,\\xe9")]
    assert rows(csv(b"2,\xe9\n", Dialect(encoding="latin-1"))) == [("2", "é")]


def test_values_with_line_breaks_where_the_source_says_so() -> None:
    assert rows(csv('1,"x\ny"\n2,z\n', Dialect(multiline=True))) == [("1", "x\ny"), ("2", "z")]


def test_nothing_is_nothing() -> None:
    assert csv("").table.num_rows == csv("\n\r\n").table.num_rows == 0


@settings(deadline=None)
@given(st.lists(st.text('ab,"\r 1é', min_size=1, max_size=12)))
def test_no_line_is_lost(texts: list[str]) -> None:
    found = csv("".join(f"{text}\n" for text in texts))
    present = [text for text in texts if text.strip("\r")]
    assert found.table.num_rows + len(found.bad) == len(present)
    assert {bad.text for bad in found.bad} <= {part for text in texts for part in (text, text.rstrip("\r"))}


def test_json_lines_keep_what_can_be_read() -> None:
    found = parse_json(b'{"a": 1, "b": NaN}\n{"a": \n\n[1]\n{"a": 2, "c": 3}', ("a", "b"), place=Place("f.jsonl"))
    assert found.table.column("a").to_pylist() == [1, 2] and found.table.column("b")[1].as_py() is None
    assert [tuple(bad) for bad in found.bad] == [
        ("f.jsonl line 2", "not a JSON object", '{"a":'),
        ("f.jsonl line 4", "not a JSON object", "[1]"),
    ]
    assert parse_json(b'{"a": 1}\n{"z": 2}', None, place=FILE).table.column_names == ["a", "z"]


def input_file(path: Path) -> inputs.InputFile:
    return inputs.expand([str(path)], [])[0]


def test_the_header_names_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(b'\xef\xbb\xbfa,"b c" \n1,2\n')
    assert lines.header(input_file(path), CSV) == (("a", "b c"), 12)
    path.write_text("a,a\n")
    with pytest.raises(DataError, match="names column 'a' twice"):
        lines.header(input_file(path), CSV)


def test_rows_have_the_type_of_text() -> None:
    assert csv("1,2\n").table.schema.types == [pa.string(), pa.string()]
