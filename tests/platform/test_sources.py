"""Sources map their own columns onto the schema and cut themselves into pieces."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from ray_mlops.contract import Column, Schema
from ray_mlops.errors import ConfigError, DataError
from ray_mlops.platform.clock import Clock
from ray_mlops.platform.formats import Csv, Parquet
from ray_mlops.platform.sources import describe

SCHEMA = Schema(
    columns=(Column(name="id", type="int64"), Column(name="time", type="timestamp"), Column(name="y", type="int64")),
    key="id",
    time="time",
    label="y",
    timezone="Europe/Madrid",
)


def with_id(table: pa.Table) -> pa.Table:
    """Numbers the rows."""
    return table.append_column("id", pa.array(range(table.num_rows)))


def test_columns_are_renamed_and_others_left_out() -> None:
    source = Parquet(path="x", rename={"number": "id", "when": "time"})
    table = pa.table({"when": [1], "number": [2], "y": [3], "id": [4], "other": [5]})
    assert source.wanted(SCHEMA) == ("number", "when", "y")
    assert source.mapped(table, SCHEMA, "x").to_pylist() == [{"id": 2, "time": 1, "y": 3}]


def test_a_transform_sees_all_columns_and_comes_first() -> None:
    source = Parquet(path="x", transform=with_id, rename={"when": "time"})
    assert source.wanted(SCHEMA) is None
    assert source.mapped(pa.table({"when": [1], "y": [3]}), SCHEMA, "x").to_pylist() == [{"id": 0, "time": 1, "y": 3}]


def test_a_missing_column_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"x has no column 'time'\. The nearest is 'tme': map it with rename"):
        Parquet(path="x").mapped(pa.table({"tme": [1], "id": [2], "y": [3]}), SCHEMA, "x")


def test_a_transform_that_fails_or_gives_something_else_is_named() -> None:
    def broken(table: pa.Table) -> pa.Table:
        return table.column("nothing")

    def empty(table: pa.Table) -> pa.Table:
        return table.to_pylist()  # type: ignore[return-value]

    table = pa.table({"a": [1]})
    with pytest.raises(DataError, match=r"transform .*broken@\w+ failed on x: KeyError"):
        Parquet(path="x", transform=broken).mapped(table, SCHEMA, "x")
    with pytest.raises(DataError, match="gave list, not a pyarrow Table"):
        Parquet(path="x", transform=empty).mapped(table, SCHEMA, "x")
    with pytest.raises(DataError, match="the result of the transform on x has no column 'time'"):
        Parquet(path="x", transform=with_id).mapped(table, SCHEMA, "x")


def test_a_dumped_config_names_the_transform_and_its_code() -> None:
    dumped = Parquet(path="x", transform=with_id).model_dump(mode="json")
    assert dumped["transform"] == describe(with_id) and dumped["transform"].startswith("with_id@")
    assert describe(lambda table: table) != describe(with_id)
    assert Parquet(path="x").model_dump(mode="json")["transform"] is None


def test_times_are_read_in_the_zone_of_the_source_or_else_of_the_schema() -> None:
    assert Csv(path="x").clock(SCHEMA) == Clock("Europe/Madrid")
    assert Csv(path="x", timezone="UTC", time_format="%d", time_unit="s").clock(SCHEMA) == Clock("UTC", "%d", "s")
    with pytest.raises(ConfigError, match=r"'Europe/Madrit' is not a time zone\. Did you mean Europe/Madrid\?"):
        Csv(path="x", timezone="Europe/Madrit").clock(SCHEMA)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"time_format": "%H.%f"}, "%f is not supported"),
        ({"encoding": "utf-16"}, "cannot be read line by line"),
        ({"encoding": "klingon"}, "not an encoding"),
        ({"delimiter": ""}, "at least 1"),
        ({"seperator": ";"}, "seperator"),
    ],
)
def test_an_impossible_setting_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Csv.model_validate({"path": "x", **fields})
