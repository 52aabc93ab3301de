"""What a source of rows is: it maps its own columns onto the declared schema and cuts itself into pieces.

Pieces are read independently, in parallel. No Ray in here: the ingest stage decides where they are read.
"""

import difflib
import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Annotated, Any, ClassVar, NamedTuple
from zoneinfo import available_timezones

import pyarrow as pa
from pydantic import PlainSerializer, field_validator

from ray_mlops.contract import Frozen, Schema
from ray_mlops.errors import ConfigError, DataError
from ray_mlops.platform.clock import Clock, TimeUnit
from ray_mlops.platform.content import plain_strings
from ray_mlops.platform.inputs import InputFile, digests, expand
from ray_mlops.platform.lines import Lines

INGEST_REPORT = "ingest.json"
"""The file beside a raw table that tells what was read: rows, unreadable lines, converted and disordered times."""
_THREADS = 16


class Piece(NamedTuple):
    """A part of a source: `label` names the file or query it belongs to, `size` is about its bytes in memory."""

    label: str
    size: int
    read: Callable[[], Iterator[Lines]]


def describe(function: Callable[..., Any] | None) -> str | None:
    """A function as text for a dumped config: its name and a hash of its source."""
    if function is None:
        return None
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = ""
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"{name}@{hashlib.blake2b(source.encode(), digest_size=6).hexdigest()}"


Transform = Annotated[Callable[[pa.Table], pa.Table], PlainSerializer(describe)]


class Source(Frozen, ABC):
    """What every source has in common.

    `transform` is a plain function from the source's own columns to a table, applied block by block; `rename` maps
    columns of its result to declared ones; naive times are in `timezone` (default: the schema's), written in ISO 8601
    or in `time_format` (`strptime`); numbers are times only with a `time_unit` (since 1970-01-01 UTC).
    """

    rename: Mapping[str, str] = {}
    transform: Transform | None = None
    timezone: str | None = None
    time_format: str | None = None
    time_unit: TimeUnit | None = None

    @field_validator("time_format")
    @classmethod
    def _no_fractions(cls, value: str | None) -> str | None:
        if value and "%f" in value:
            raise ValueError("%f is not supported: leave time_format out for ISO 8601 times, fractions included")
        return value

    @abstractmethod
    def pieces(self, schema: Schema) -> list[Piece]:
        """The parts to read; raises `DataError` when the source is not there, not readable, or lacks a column."""

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """What is read, by name, and a digest of its content."""

    def clock(self, schema: Schema) -> Clock:
        """How this source writes times."""
        zone = self.timezone or schema.timezone
        if zone not in available_timezones():
            near = difflib.get_close_matches(zone, available_timezones(), n=1)
            raise ConfigError(f"{zone!r} is not a time zone.{f' Did you mean {near[0]}?' if near else ''}")
        return Clock(zone, self.time_format, self.time_unit)

    def origin(self, declared: str) -> str:
        """The source's name of a declared column."""
        return next((source for source, target in self.rename.items() if target == declared), declared)

    def wanted(self, schema: Schema) -> tuple[str, ...] | None:
        """The source columns to read; None for all of them, which a transform may need."""
        return None if self.transform else tuple(self.origin(name) for name in schema.names)

    def check(self, available: Sequence[str], needed: Sequence[str] | None, label: str) -> None:
        """Raise `DataError` naming the first needed column that is not available, and the nearest one."""
        for name in needed or ():
            if name not in available:
                near = difflib.get_close_matches(name, available, n=1, cutoff=0.4)
                hint = f" The nearest is {near[0]!r}: map it with rename." if near else ""
                raise DataError(f"{label} has no column {name!r}.{hint} It has: {', '.join(available)}.")

    def mapped(self, table: pa.Table, schema: Schema, label: str) -> pa.Table:
        """The declared columns of rows of this source, not yet cast."""
        if self.transform:
            try:
                table = self.transform(plain_strings(table))
            except Exception as error:
                raise DataError(f"transform {describe(self.transform)} failed on {label}: {error!r}") from error
            if not isinstance(table, pa.Table):
                raise DataError(
                    f"transform {describe(self.transform)} gave {type(table).__name__}, not a pyarrow Table"
                )
        origins = [self.origin(name) for name in schema.names]
        self.check(table.column_names, origins, f"the result of the transform on {label}" if self.transform else label)
        return pa.table({name: table.column(origin) for name, origin in zip(schema.names, origins, strict=True)})


class FileSource(Source, ABC):
    """A source of files: `path` is a file, a glob, a folder, or several of them; local or `s3://`."""

    path: str | tuple[str, ...]
    suffixes: ClassVar[tuple[str, ...]]

    def files(self) -> list[InputFile]:
        """The files, each once, in order."""
        return expand((self.path,) if isinstance(self.path, str) else self.path, self.suffixes)

    def identity(self) -> dict[str, str]:
        """The files and the digests of their content."""
        return digests(self.files())

    def pieces(self, schema: Schema) -> list[Piece]:
        """The parts of all files, in order."""
        with ThreadPoolExecutor(_THREADS) as threads:
            return list(chain.from_iterable(threads.map(partial(self.file_pieces, schema=schema), self.files())))

    @abstractmethod
    def file_pieces(self, file: InputFile, schema: Schema) -> list[Piece]:
        """The parts of one file; raises `DataError` when it cannot be read or lacks a column."""
