"""CSV and JSON lines, where a bad line costs itself and no other line.

A line is a record unless the source says that values hold line breaks. What cannot be a row comes back as `Unreadable`,
text included: nothing is lost.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute
from pyarrow import csv

from ray_mlops.errors import DataError
from ray_mlops.platform.casting import Unreadable, infer
from ray_mlops.platform.inputs import InputFile
from ray_mlops.platform.spans import BOM, Place

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

_PROBE_BYTES = 64 << 10
_OPEN = "a quote is not closed"
_MAX_HEADER_BYTES = 4 << 20


class Dialect(NamedTuple):
    """How a CSV file is written; `null_values` are the texts that stand for a missing value."""

    delimiter: str = ","
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("",)
    multiline: bool = False


class Lines(NamedTuple):
    """What a stretch of text holds: its rows, and the lines that are no rows."""

    table: pa.Table
    bad: list[Unreadable]


def header(file: InputFile, dialect: Dialect) -> tuple[tuple[str, ...], int]:
    """The column names of a CSV file and the bytes its header line takes; raises `DataError` for a doubled name."""
    line = _first_line(file)
    try:
        names = csv.read_csv(
            pa.BufferReader(_utf8(line.removeprefix(BOM), dialect) + b"\n"),
            parse_options=csv.ParseOptions(delimiter=dialect.delimiter),
        ).column_names
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"{file.label} has no readable header line: {error}") from error
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{file.label} names column {doubled[0]!r} twice. Give each column its own name.")
    return tuple(name.strip() for name in names), len(line)


def _first_line(file: InputFile) -> bytes:
    try:
        with file.filesystem.open_input_stream(file.path) as stream:
            start = stream.read(_PROBE_BYTES)
            while b"\n" not in start and len(start) < _MAX_HEADER_BYTES and (more := stream.read(_PROBE_BYTES)):
                start += more
    except OSError as error:
        raise DataError(f"cannot read {file.label}: {error}. The file may be truncated: write it again.") from error
    return start[: start.find(b"\n") + 1] if b"\n" in start else start


def _utf8(data: bytes, dialect: Dialect) -> bytes:
    return data.decode(dialect.encoding).encode()


def parse_csv(data: bytes, columns: Sequence[str], *, dialect: Dialect, place: Place) -> Lines:
    """The rows of CSV text without a header, every value as text; what is no row comes back with its reason."""
    parse = _Parser(tuple(columns), dialect, place)
    if dialect.multiline:
        return parse.records(data)
    data = data if data.endswith(b"\n") else data + b"\n"
    rows = data.count(b"\n")
    if found := parse.attempt(data, rows):
        return parse.located(found, range(1, rows + 1))
    numbered = [(number, line) for number, line in enumerate(data.split(b"\n"), 1) if line.strip(b"\r")]
    parts = list(parse.by_halves(numbered))
    tables = [part.table for part in parts] or [parse.nothing()]
    return Lines(pa.concat_tables(tables), [bad for part in parts for bad in part.bad])


def _holds_breaks(table: pa.Table) -> bool:
    """Whether a value holds a line break: its quote was not closed on its line."""
    return any(pc.any(pc.match_substring(column, "\n")).as_py() for column in table.columns)


class _Found(NamedTuple):
    table: pa.Table
    refused: list[tuple[int, int, str]]  # row number, its fields, its text


class _Parser(NamedTuple):
    columns: tuple[str, ...]
    dialect: Dialect
    place: Place

    def by_halves(self, numbered: list[tuple[int, bytes]]) -> Iterator[Lines]:
        """Halves the lines until each one that disturbs its neighbours (an open quote, foreign bytes) stands alone."""
        waiting = [numbered] if numbered else []
        while waiting:
            lines = waiting.pop()
            if found := self.attempt(b"\n".join(line for _, line in lines) + b"\n", len(lines)):
                yield self.located(found, [number for number, _ in lines])
            elif len(lines) > 1:
                middle = len(lines) // 2
                waiting += [lines[middle:], lines[:middle]]
            else:
                yield Lines(self.nothing(), [self.disturbing(*lines[0])])

    def attempt(self, data: bytes, lines: int) -> _Found | None:
        """The rows, unless a line swallows its neighbours, breaks in two, or is not in the declared encoding."""
        if data.count(b"\r") != data.count(b"\r\n"):
            return None
        try:
            found = self.read(_utf8(data, self.dialect))
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return None
        whole = found.table.num_rows + len(found.refused) == lines
        return found if whole and not (b'"' in data and _holds_breaks(found.table)) else None

    def records(self, data: bytes) -> Lines:
        """The rows of text whose values may hold line breaks."""
        try:
            found = self.read(_utf8(data, self.dialect))
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise DataError(f"{self.place.name} is not readable CSV with line breaks in values: {error}") from error
        return self.located(found, range(1, found.table.num_rows + len(found.refused) + 1))

    def located(self, found: _Found, numbers: Sequence[int]) -> Lines:
        """What was found, each refused row with the place of its line."""
        width = f"fields instead of {len(self.columns)}"
        bad = [
            Unreadable(self.place.line(numbers[row - 1]), _OPEN if text.count('"') % 2 else f"{fields} {width}", text)
            for row, fields, text in found.refused
        ]
        return Lines(found.table, bad)

    def disturbing(self, number: int, line: bytes) -> Unreadable:
        """Why a line on its own cannot be read."""
        where = self.place.line(number)
        why = "a carriage return inside the line" if b"\r" in line.rstrip(b"\r") else _OPEN
        try:
            return Unreadable(where, why, line.decode(self.dialect.encoding).rstrip("\r"))
        except UnicodeDecodeError:
            return Unreadable(where, f"not {self.dialect.encoding} text", line.decode(errors="backslashreplace"))

    def nothing(self) -> pa.Table:
        """No rows."""
        return pa.table({name: pa.array([], pa.string()) for name in self.columns})

    def read(self, data: bytes) -> _Found:
        """Every record of UTF-8 text; records of a wrong width are refused."""
        if not data.strip():
            return _Found(self.nothing(), [])
        refused: list[tuple[int, int, str]] = []

        def refuse(row: Any) -> str:
            refused.append((row.number, row.actual_columns, row.text))
            return "skip"

        table = csv.read_csv(
            pa.BufferReader(data),
            read_options=csv.ReadOptions(column_names=self.columns, use_threads=False, block_size=len(data) + 1),
            parse_options=csv.ParseOptions(
                delimiter=self.dialect.delimiter,
                invalid_row_handler=refuse,
                newlines_in_values=self.dialect.multiline,
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(self.columns, pa.string()),
                strings_can_be_null=True,
                null_values=self.dialect.null_values,
            ),
        )
        return _Found(table, refused)


def parse_json(data: bytes, wanted: Sequence[str] | None, *, place: Place) -> Lines:
    """The rows of JSON lines, of the wanted columns only (all that occur when None); an absent value is null."""
    rows: list[dict[str, Any]] = []
    bad: list[Unreadable] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line := line.strip():
            row = _record(line)
            if isinstance(row, dict):
                rows.append(row)
            else:
                text = line.decode(errors="backslashreplace")
                bad.append(Unreadable(place.line(number), "not a JSON object", text))
    names = wanted if wanted is not None else list(dict.fromkeys(name for row in rows for name in row))
    return Lines(pa.table({name: infer([row.get(name) for row in rows]) for name in names}), bad)


def _record(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return json.loads(line)  # knows NaN, Infinity and whole numbers beyond 64 bits
        except ValueError:
            return None
