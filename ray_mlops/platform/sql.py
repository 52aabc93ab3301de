"""The rows of a SQL query through SQLAlchemy, whole or in ranges of one column."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from ray_mlops.errors import DataError
from ray_mlops.platform.casting import infer
from ray_mlops.platform.lines import Lines

if TYPE_CHECKING:
    import sqlalchemy as sa

PIECE_BYTES = 16 << 20
_BATCH_ROWS = 50_000


class Query(NamedTuple):
    """A query on a database: the URL as declared, the columns to fetch, and the URL with its variables filled in."""

    url: str
    text: str
    columns: tuple[str, ...] = ()
    address: str = ""

    @property
    def label(self) -> str:
        """What messages call it: the URL as it was declared, without a password, and a short hash of the query."""
        import sqlalchemy as sa
        from sqlalchemy.exc import ArgumentError

        try:
            shown = sa.make_url(self.url).render_as_string(hide_password=True)
        except ArgumentError:
            shown = self.url.partition("://")[0]
        return f"{shown}#{hashlib.blake2b(self.text.encode(), digest_size=4).hexdigest()}"

    def subquery(self) -> "sa.Subquery":
        """The query as a table that can be selected from."""
        import sqlalchemy as sa

        # In SQLAlchemy's text a colon begins a parameter; here it belongs to the user's own SQL.
        text = sa.text(self.text.strip().rstrip(";").replace(":", "\\:"))
        return text.columns(*(sa.column(name) for name in self.columns)).subquery("source")


class Range(NamedTuple):
    """Rows whose `column` is in `[low, high)`; `high` None is open, both None means the rows without a value."""

    column: str
    low: Any
    high: Any


@contextmanager
def _connected(query: Query) -> Iterator["sa.Connection"]:
    import sqlalchemy as sa
    from sqlalchemy.exc import SQLAlchemyError

    try:
        # No pool: a connection that is not open cannot be left behind.
        with sa.create_engine(query.address or address(query), poolclass=sa.NullPool).connect() as connection:
            yield connection
    except (SQLAlchemyError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"cannot query {query.label}: {reason}. Check the URL, its driver and the query.") from error


def address(query: Query) -> str:
    """The URL to connect to; raises `DataError` for an unset variable or a SQLite file that does not exist."""
    import sqlalchemy as sa

    filled = os.path.expandvars(query.url)
    if "${" in filled:
        raise DataError(f"{query.label} names an environment variable that is not set")
    url = sa.make_url(filled)
    # SQLite would make an empty database of a mistyped path.
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise DataError(f"no database file {url.database} for {query.label}")
    return filled


def columns(query: Query) -> tuple[str, ...]:
    """The column names of the query's result; raises `DataError` when it cannot be run."""
    import sqlalchemy as sa

    statement = sa.select(sa.text("*")).select_from(query.subquery()).where(sa.false())
    with _connected(query) as connection:
        return tuple(connection.execute(statement).keys())


def ranges(query: Query, column: str, count: int) -> list[Range]:
    """`count` ranges of equal width that cover every row, and one for rows without a value where there are any."""
    import sqlalchemy as sa

    source = query._replace(columns=tuple(dict.fromkeys((*query.columns, column)))).subquery()
    bounds = sa.select(sa.func.min(source.c[column]), sa.func.max(source.c[column]), sa.func.count(source.c[column]))
    with _connected(query) as connection:
        low, high, valued = connection.execute(bounds).one()
        total = connection.execute(sa.select(sa.func.count()).select_from(source)).scalar_one()
    missing = [Range(column, None, None)] if total > valued else []
    if low is None:
        return missing
    try:
        edges = [low + (high - low) * part // count for part in range(count)]
    except TypeError as error:
        raise DataError(f"{query.label}: partition_on={column!r} must hold numbers or times, not {low!r}") from error
    return [*(Range(column, *pair) for pair in zip(edges, [*edges[1:], None], strict=True)), *missing]


def read(query: Query, part: Range | None) -> Iterator[Lines]:
    """The rows of the query, or of one range, in batches."""
    import sqlalchemy as sa

    extra = (part.column,) if part else ()
    source = query._replace(columns=tuple(dict.fromkeys((*query.columns, *extra)))).subquery()
    statement = sa.select(*(source.c[name] for name in query.columns))
    if part is not None:
        column = source.c[part.column]
        lower = column >= part.low if part.low is not None else column.is_(None)
        statement = statement.where(lower, *((column < part.high,) if part.high is not None else ()))
    with _connected(query) as connection:
        result = connection.execution_options(yield_per=_BATCH_ROWS).execute(statement)
        for rows in result.partitions():
            values = list(zip(*rows, strict=True))
            yield Lines(pa.table({name: infer(column) for name, column in zip(query.columns, values, strict=True)}), [])


def digest(query: Query) -> str:
    """A digest of the rows of a query, whatever their order."""
    total = 0
    query = query._replace(columns=columns(query))
    for batch in read(query, None):
        for row in zip(*(column.to_pylist() for column in batch.table.columns), strict=True):
            total += int.from_bytes(hashlib.blake2b(repr(row).encode(), digest_size=8).digest())
    return f"{total % (1 << 64):016x}"
