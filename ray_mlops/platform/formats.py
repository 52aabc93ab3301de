"""The kinds of sources: Parquet, CSV and JSON lines (a file, a glob, a folder; local or `s3://`) and SQL queries."""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from ray_mlops.contract import Schema
from ray_mlops.errors import DataError
from ray_mlops.platform import row_groups, sql
from ray_mlops.platform.inputs import InputFile
from ray_mlops.platform.lines import Dialect, Lines, header, parse_csv, parse_json
from ray_mlops.platform.sources import FileSource, Piece, Source
from ray_mlops.platform.spans import Place, Span, read_span, spans

_SAMPLE_BYTES = 256 << 10


class Parquet(FileSource):
    """Parquet files, read by row group, only the columns that are needed."""

    kind: Literal["parquet"] = "parquet"
    suffixes: ClassVar = (".parquet", ".pq", ".parq")

    def file_pieces(self, file: InputFile, schema: Schema) -> list[Piece]:
        """One piece per row group."""
        footer = row_groups.footer(file)
        available = footer.schema.to_arrow_schema().names
        wanted = self.wanted(schema)
        self.check(available, wanted, file.label)
        groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
        cell = 8 * len(wanted or available)  # what is on disk may be packed ten times smaller
        read = partial(row_groups.read, file, wanted)
        return [
            Piece(file.label, cell * part.num_rows, partial(read, at))
            for at, part in enumerate(groups)
            if part.num_rows
        ]


class Csv(FileSource):
    """CSV files with a header line. Every value arrives in a `transform` as text.

    Set `multiline` where values hold line breaks: such a file is read in one piece.
    """

    kind: Literal["csv"] = "csv"
    suffixes: ClassVar = (".csv", ".csv.gz", ".csv.zst", ".csv.bz2", ".tsv", ".txt")
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("",)
    multiline: bool = False

    @field_validator("encoding")
    @classmethod
    def _keeps_ascii(cls, value: str) -> str:
        try:
            if "\n,".encode(value) == b"\n,":
                return value
        except LookupError as error:
            raise ValueError(f"{value} is not an encoding Python knows") from error
        raise ValueError(f"{value} files cannot be read line by line: convert them to UTF-8")

    def file_pieces(self, file: InputFile, schema: Schema) -> list[Piece]:
        """Byte ranges; the header line is read here."""
        dialect = Dialect(self.delimiter, self.encoding, self.null_values, self.multiline)
        columns, size = header(file, dialect)
        self.check(columns, self.wanted(schema), file.label)
        if size >= file.size:
            return []
        parts = spans(file, split=not self.multiline)
        return [Piece(file.label, part.size, partial(_csv_rows, file, part, columns, dialect)) for part in parts]


def _csv_rows(file: InputFile, part: Span, columns: tuple[str, ...], dialect: Dialect) -> Iterator[Lines]:
    data, place = read_span(file, part), part.place(file)
    if not part.start:  # the header line
        data, place = data[data.find(b"\n") + 1 :] if b"\n" in data else b"", Place(file.name, first_line=2)
    yield parse_csv(data, columns, dialect=dialect, place=place)


class JsonLines(FileSource):
    """Files with one JSON object a line; a key that a line lacks is a missing value."""

    kind: Literal["jsonl"] = "jsonl"
    suffixes: ClassVar = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz", ".jsonl.zst")

    def file_pieces(self, file: InputFile, schema: Schema) -> list[Piece]:
        """Byte ranges; the first lines tell whether the columns that may not be missing are there."""
        wanted, parts = self.wanted(schema), spans(file)
        sample, bad = next(_json_rows(file, parts[0].first(_SAMPLE_BYTES), None))
        if bad and not sample.num_rows:
            raise DataError(f"{file.label}: none of its first {len(bad)} lines is a JSON object. Is it JSON lines?")
        if wanted and sample.num_rows:
            required = [self.origin(column.name) for column in schema.columns if not column.nullable]
            self.check(sample.column_names, required, f"{file.label} (its first {sample.num_rows} lines)")
        return [Piece(file.label, part.size, partial(_json_rows, file, part, wanted)) for part in parts]


def _json_rows(file: InputFile, part: Span, wanted: tuple[str, ...] | None) -> Iterator[Lines]:
    yield parse_json(read_span(file, part), wanted, place=part.place(file))


class Sql(Source):
    """The rows of a query on any SQLAlchemy URL; `${NAME}` in the URL is filled in from the environment.

    With `partition_on`, a column of numbers or times in the result, the query is read in that many `partitions` at
    once. Without a `version`, which you change when the data changes, the query is run once more to digest its rows.
    """

    kind: Literal["sql"] = "sql"
    url: str
    query: str
    partition_on: str | None = None
    partitions: int = Field(default=8, ge=1)
    version: str | None = None

    def pieces(self, schema: Schema) -> list[Piece]:
        """One piece per partition."""
        query = sql.Query(self.url, self.query)
        available = sql.columns(query)
        self.check(available, self.wanted(schema), query.label)
        self.check(available, (self.partition_on,) if self.partition_on else (), query.label)
        query = query._replace(columns=self.wanted(schema) or available, address=sql.address(query))
        ranges = sql.ranges(query, self.partition_on, self.partitions) if self.partition_on else [None]
        return [Piece(query.label, sql.PIECE_BYTES, partial(sql.read, query, part)) for part in ranges]

    def identity(self) -> dict[str, str]:
        """The query, and its version or a digest of its rows."""
        query = sql.Query(self.url, self.query)
        return {query.label: self.version if self.version is not None else sql.digest(query)}
