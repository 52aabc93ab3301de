"""Each kind of source gives its rows in pieces, and refuses what it cannot read before anything is read."""

import gzip
import json
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_mlops.contract import Column, Schema
from ray_mlops.errors import DataError
from ray_mlops.platform import spans
from ray_mlops.platform.formats import Csv, JsonLines, Parquet, Sql
from ray_mlops.platform.sources import Source

SCHEMA = Schema(
    columns=(
        Column(name="id", type="int64"),
        Column(name="time", type="timestamp"),
        Column(name="y", type="int64", nullable=True),
    ),
    key="id",
    time="time",
    label="y",
)
ROWS = [{"id": n, "time": f"2024-01-01 00:{n // 60:02d}:{n % 60:02d}", "y": n % 2, "more": "x"} for n in range(200)]


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


def csv_text(rows: list[dict]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]) + "\n"


def read(source: Source) -> list[dict]:
    tables = [lines.table for piece in source.pieces(SCHEMA) for lines in piece.read()]
    return [row for table in tables for row in source.mapped(table, SCHEMA, "x").to_pylist()]


def ids(source: Source) -> list[int]:
    return [int(row["id"]) for row in read(source)]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_csv_in_one_piece_and_in_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    source = Csv(path=write(tmp_path, name, csv_text(ROWS)))
    assert ids(source) == list(range(200))
    monkeypatch.setattr(spans, "SPAN_BYTES", 100)
    assert ids(source) == list(range(200))
    assert len(source.pieces(SCHEMA)) == (1 if name.endswith("gz") else -(-len(csv_text(ROWS)) // 100))


def test_csv_files_may_order_their_columns_differently(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "id,time,y\n1,2024-01-01,0\n")
    write(tmp_path, "b.csv", "y,time,id\n1,2024-01-01,2\n")
    assert ids(Csv(path=str(tmp_path))) == [1, 2]


def test_csv_with_a_header_only_has_no_pieces(tmp_path: Path) -> None:
    assert Csv(path=write(tmp_path, "a.csv", "id,time,y\n")).pieces(SCHEMA) == []


def test_json_lines_in_one_piece_and_in_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = JsonLines(path=write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)))
    assert ids(source) == list(range(200))
    monkeypatch.setattr(spans, "SPAN_BYTES", 90)
    assert ids(source) == list(range(200)) and len(source.pieces(SCHEMA)) > 100


def test_json_lines_may_lack_what_may_be_missing(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"id": 1, "time": "2024-01-01"}\n')
    assert read(JsonLines(path=path)) == [{"id": 1, "time": "2024-01-01", "y": None}]


def test_parquet_by_row_group_with_the_columns_needed(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet", row_group_size=60)
    source = Parquet(path=str(tmp_path))
    assert len(source.pieces(SCHEMA)) == 4 and ids(source) == list(range(200))
    table = next(iter(source.pieces(SCHEMA)[0].read())).table
    assert table.column_names == ["id", "time", "y"]


def test_sql_whole_and_in_partitions(tmp_path: Path) -> None:
    path = tmp_path / "bank.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (number integer, time text, y integer)")
        connection.executemany("insert into t values (?, ?, ?)", [(row["id"], row["time"], row["y"]) for row in ROWS])
    connection.close()
    source = Sql(url=f"sqlite:///{path}", query="select * from t", rename={"number": "id"})
    assert sorted(ids(source)) == list(range(200)) and len(source.pieces(SCHEMA)) == 1
    apart = source.model_copy(update={"partition_on": "number", "partitions": 3})
    assert sorted(ids(apart)) == list(range(200)) and len(apart.pieces(SCHEMA)) == 3
    (digest,) = source.identity().values()
    assert source.model_copy(update={"version": "7"}).identity() == dict.fromkeys(source.identity(), "7") != digest
    with pytest.raises(DataError, match="has no column 'nmber'.*nearest is 'number'"):
        source.model_copy(update={"partition_on": "nmber"}).pieces(SCHEMA)


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.parquet is not a readable Parquet file.*truncated"):
        Parquet(path=str(path)).pieces(SCHEMA)


def test_parquet_with_damaged_rows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, compression="zstd", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet is not a readable Parquet file"):
        read(Parquet(path=str(path)))


@pytest.mark.parametrize(
    ("source", "text"),
    [(Csv, "number,time,y\n1,2024-01-01,0\n"), (JsonLines, '{"number": 1, "time": "2024-01-01"}\n')],
)
def test_a_missing_column_is_found_before_anything_is_read(tmp_path: Path, source: type, text: str) -> None:
    path = write(tmp_path, "a.txt", text)
    with pytest.raises(DataError, match=r"a\.txt.* has no column 'id'.* It has: number, time"):
        source(path=path).pieces(SCHEMA)


def test_what_is_no_json_lines_at_all_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json: none of its first 2 lines is a JSON object"):
        JsonLines(path=write(tmp_path, "a.json", '[\n{"id": 1},\n')).pieces(SCHEMA)


def test_identity_is_the_files_and_their_content(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", csv_text(ROWS))
    before = Csv(path=path).identity()
    assert list(before) == [path]
    write(tmp_path, "a.csv", csv_text(ROWS[:-1]))
    assert Csv(path=path).identity() != before
