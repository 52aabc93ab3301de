"""Rows in the formats that clients of other servers send: CSV, JSON lines, NPY and the four JSON shapes of MLflow.

Text and numbers become the type that their column declares where that loses nothing; whatever else is in a cell stays as it
is, so that the one validator names it. An empty cell, null and NaN are a value that is not there. No pickle is read.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from ray_mlops.serving.access import nesting
from ray_mlops.serving.edge import refused

Columns = Mapping[str, str]
Rows = list[dict[str, Any]]
MLFLOW = ("dataframe_split", "dataframe_records", "instances", "inputs")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_LARGEST_EXACT = 1 << 53
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def from_csv(body: bytes, columns: Columns) -> Rows:
    """Lines of cells; a first line of nothing but column names says which and in which order."""
    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise refused(400, f"the body is not CSV in UTF-8: {error}") from None
    if lines and set(cells := [cell.strip() for cell in lines[0]]) <= columns.keys() and len({*cells}) == len(cells):
        return _some(_placed(lines[1:], cells), columns, text=True)
    return _some(_placed(lines, list(columns)), columns, text=True)


def from_json_lines(body: bytes, columns: Columns) -> Rows:
    """A JSON object a line."""
    return _some(
        [_json(line, f"line {place}") for place, line in enumerate(body.splitlines(), 1) if line.strip()], columns
    )


def from_npy(body: bytes, columns: Columns) -> Rows:
    """An array with a row of cells a question, or of pictures (uint8) where those are asked for."""
    array = _array(body)
    if list(columns.values()) == ["image"]:
        return pictures(array, *columns)
    if array.dtype.names:
        return _some(_placed(np.atleast_1d(array).tolist(), list(array.dtype.names)), columns)
    if array.ndim not in (1, 2):
        raise refused(422, f"the array has {array.ndim} dimensions; send one row of {len(columns)} values, or several")
    return _some(_placed(np.atleast_2d(array).tolist(), list(columns)), columns)


def pictures(array: np.ndarray, column: str) -> Rows:
    """A row a picture: uint8 (height, width), (height, width, channels) or (pictures, height, width, channels)."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3, 4) or (array.ndim > 2 and array.shape[-1] not in (1, 3)):
        raise refused(
            422, f"is {array.dtype} {array.shape}; pictures are uint8 (pictures, height, width, 1 or 3)", column
        )
    listed = array if array.ndim == 4 else array[None, :, :, None] if array.ndim == 2 else array[None]
    return [{column: picture} for picture in listed]


def from_mlflow(given: Mapping[str, Any], columns: Columns) -> Rows:
    """The rows in a JSON object of MLflow's scoring protocol, which has exactly one of `MLFLOW`."""
    shape = [name for name in MLFLOW if name in given]
    if len(shape) != 1:
        raise refused(422, f"holds {' and '.join(shape)}; send one of them")
    value = given[shape[0]]
    if shape[0] == "dataframe_split":
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            raise refused(422, 'should be {"columns": [...], "data": [[...], ...]}', shape[0])
        return _some(_placed(value["data"], value.get("columns") or list(columns)), columns)
    if isinstance(value, dict) and shape[0] == "inputs":
        value = _turned(value)
    if not isinstance(value, list):
        raise refused(422, "should be a list of rows", shape[0])
    return _some([row if isinstance(row, dict) else _placed([row], list(columns))[0] for row in value], columns)


def from_columns(given: Mapping[str, Sequence[Any]], columns: Columns) -> Rows:
    """The rows in columns of the same length."""
    return _some(_turned(given), columns)


def _turned(given: Mapping[str, Any]) -> Rows:
    listed = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    lengths = {name: len(value) for name, value in listed.items()}
    if len(set(lengths.values())) > 1:
        raise refused(422, f"the columns differ in length: {lengths}")
    return [dict(zip(listed, cells, strict=True)) for cells in zip(*listed.values(), strict=True)]


def _placed(lines: Sequence[Any], names: Sequence[str]) -> Rows:
    """Rows from lists of cells in the order of these names."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise refused(422, "should be a list of column names", "columns")
    for place, line in enumerate(lines):
        if not isinstance(line, list | tuple) or len(line) != len(names):
            found = f"{len(line)} values" if isinstance(line, list | tuple) else f"{type(line).__name__}"
            raise refused(422, f"is {found}; a row has {len(names)}: {', '.join(names)}", f"rows.{place}")
    return [dict(zip(names, line, strict=True)) for line in lines]


def _some(rows: Sequence[Any], columns: Columns, *, text: bool = False) -> Rows:
    if not rows:
        raise refused(422, "the body has no rows")
    odd = next((place for place, row in enumerate(rows) if not isinstance(row, dict)), None)
    if odd is not None:
        raise refused(422, "should be an object of column names and values", f"rows.{odd}")
    return [_typed(row, columns, text) for row in rows]


def _typed(row: Mapping[str, Any], columns: Columns, text: bool) -> dict[str, Any]:
    cells = {name: _cell(value, columns.get(name, ""), text) for name, value in row.items()}
    return {name: value for name, value in cells.items() if value is not None}


def _cell(value: Any, kind: str, text: bool) -> Any:
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if kind == "int64" and abs(value) <= _LARGEST_EXACT and value.is_integer() else value
    return _parsed(value, kind) if text else value


def _parsed(cell: str, kind: str) -> Any:
    if not cell:
        return None
    if kind == "int64" and _WHOLE.fullmatch(cell.strip()):
        return int(cell)
    if kind == "float64":
        try:
            return number if math.isfinite(number := float(cell)) else cell
        except ValueError:
            return cell
    return _TRUTH.get(cell.strip().lower(), cell) if kind == "bool" else cell


def _json(text: bytes, where: str) -> Any:
    nesting.check(text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise refused(400, f"{where} is not JSON: {error}") from None


def _array(body: bytes) -> np.ndarray:
    """The array of an NPY file. Its size is compared with its header before there is any: a header may claim anything."""
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, by_column, dtype = header(stream)
    except (ValueError, KeyError, EOFError, TypeError, SyntaxError) as error:
        raise refused(400, f"the body is not an array in NPY format: {error}") from None
    rest = body[stream.tell() :]
    if dtype.hasobject:
        raise refused(422, "the array holds Python objects, which only pickle can read; send numbers or strings")
    if not dtype.itemsize or min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(rest) or not rest:
        raise refused(400, f"the array is {len(rest)} bytes, but its header says {dtype} {shape}")
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if by_column else "C")


def write_csv(stream: io.StringIO, lines: Iterable[Sequence[Any]]) -> None:
    """Lines of cells, each ended by a newline."""
    csv.writer(stream, lineterminator="\n").writerows(lines)
