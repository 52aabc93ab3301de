"""SQL queries through SQLAlchemy, here on SQLite files: whole, in ranges, and what goes wrong."""

import sqlite3
from pathlib import Path

import pytest

from ray_mlops.errors import DataError
from ray_mlops.platform import sql
from ray_mlops.platform.sql import Query


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "bank.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table payments (id integer, at text, amount real)")
        rows = [(n, f"2024-01-{n % 28 + 1:02d} 12:00:00", n / 2) for n in range(100)]
        connection.executemany("insert into payments values (?, ?, ?)", [*rows, (None, "2024-02-01 00:00:00", 0.0)])
    connection.close()
    return f"sqlite:///{path}"


def query(database: str, text: str = "select * from payments") -> Query:
    unfinished = Query(database, text)
    return unfinished._replace(columns=sql.columns(unfinished))


def fetched(asked: Query, part: sql.Range | None = None) -> list[dict]:
    return [row for lines in sql.read(asked, part) for row in lines.table.to_pylist()]


def test_the_columns_of_the_result(database: str) -> None:
    asked = Query(database, "select id as number, at from payments where at > '2024-01-01 10:00:00';")
    assert sql.columns(asked) == ("number", "at")


def test_only_the_columns_asked_for(database: str) -> None:
    rows = fetched(query(database)._replace(columns=("amount", "id")))
    assert len(rows) == 101 and rows[3] == {"amount": 1.5, "id": 3}


@pytest.mark.parametrize("count", [1, 3, 8, 120])
def test_ranges_hold_each_row_once(database: str, count: int) -> None:
    asked = query(database)._replace(columns=("id",))
    parts = sql.ranges(asked, "id", count)
    ids = [row["id"] for part in parts for row in fetched(asked, part)]
    assert len(parts) == count + 1 and sorted(ids, key=lambda n: -1 if n is None else n) == [None, *range(100)]


def test_ranges_of_large_whole_numbers_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "big.db"
    numbers = [2**53 + n for n in range(9)]
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (id integer)")
        connection.executemany("insert into t values (?)", [(n,) for n in numbers])
    connection.close()
    asked = query(f"sqlite:///{path}", "select id from t")
    assert sorted(row["id"] for part in sql.ranges(asked, "id", 4) for row in fetched(asked, part)) == numbers


def test_a_column_of_text_cannot_be_cut(database: str) -> None:
    with pytest.raises(DataError, match="partition_on='at' must hold numbers or times"):
        sql.ranges(query(database), "at", 4)


def test_the_digest_follows_the_rows_not_their_order(database: str) -> None:
    assert sql.digest(Query(database, "select * from payments")) == sql.digest(
        Query(database, "select * from payments order by amount desc")
    )
    assert sql.digest(Query(database, "select * from payments")) != sql.digest(
        Query(database, "select * from payments where id > 3")
    )


def test_the_label_hides_the_password() -> None:
    label = Query("postgresql+psycopg://me:secret@host/db", "select 1").label
    assert "secret" not in label and label.startswith("postgresql+psycopg://me:***@host/db#")


def test_the_address_comes_from_the_environment(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK", database)
    assert sql.columns(Query("${BANK}", "select id from payments")) == ("id",)
    with pytest.raises(DataError, match="environment variable that is not set"):
        sql.columns(Query("sqlite:///${NO_SUCH_BANK}", "select 1"))


@pytest.mark.parametrize(
    ("url", "text", "message"),
    [
        (None, "select * from loans", "no such table: loans"),
        (None, "selct 1", "syntax error"),
        ("sqlite:////nowhere/bank.db", "select 1", "no database file /nowhere/bank.db"),
        ("nosuch://host/db", "select 1", "nosuch"),
        ("mysql+mysqldb://host/db", "select 1", "MySQLdb"),
        ("not a url", "select 1", "Could not parse"),
    ],
)
def test_what_goes_wrong_is_said(database: str, url: str | None, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sql.columns(Query(url or database, text))
