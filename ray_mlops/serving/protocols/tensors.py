"""Tensors of the Open Inference Protocol: from what a request holds to rows, and from columns of answers to what it gets.

A tensor's data is in the JSON, or in the bytes behind it, in the order of the tensors (the binary tensor extension).
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ray_mlops.serving.edge import refused
from ray_mlops.serving.protocols import rows
from ray_mlops.serving.protocols.asked import Asked, Output

NUMBERS = {
    "BOOL": "?", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "<u1", "UINT16": "<u2",
    "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_DATATYPES = {"int64": "INT64", "float64": "FP64", "bool": "BOOL"}  # of our columns; all others are BYTES


def datatype(kind: str) -> str:
    """The datatype that a column of this type is announced with; a tensor of any other is read as well."""
    return _DATATYPES.get(kind, "BYTES")


def rows_of(tensors: Mapping[str, np.ndarray], asked: Asked) -> rows.Rows:
    """A row a place of the first axis; every tensor is one column."""
    if unknown := tensors.keys() - asked.columns.keys():
        raise refused(422, f"is no input of {asked.name}; there are {', '.join(asked.columns)}", min(unknown))
    columns = {}
    for name, tensor in tensors.items():
        if asked.columns.get(name) == "image" and tensor.dtype == np.uint8:
            return rows.pictures(tensor, name)
        if tensor.ndim not in (1, 2) or (tensor.ndim == 2 and tensor.shape[1] != 1):
            raise refused(422, f"has shape {list(tensor.shape)}; a column is [rows] or [rows, 1]", name)
        cells = tensor.ravel().tolist()
        columns[name] = cells if asked.columns.get(name) == "image" else [_text(cell, name) for cell in cells]
    return rows.from_columns(columns, asked.columns)


def listed(name: str, kind: str, shape: Sequence[int], data: Any) -> np.ndarray:
    """A tensor whose values are a JSON list, flat or nested."""
    flat, waiting = [], [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        else:
            flat.append(value)
    if _count(name, kind, shape) != len(flat):
        raise refused(422, f"has {len(flat)} values; its shape is {list(shape)}", name)
    if kind == "BYTES":
        if not all(isinstance(value, str) for value in flat):
            raise refused(422, "should hold text", name)
        return np.array(flat, object).reshape(shape)
    exact = bool if kind == "BOOL" else int if "INT" in kind else int | float
    if not all(isinstance(value, exact) and (kind == "BOOL" or not isinstance(value, bool)) for value in flat):
        raise refused(422, f"should hold values of {kind}", name)
    try:
        return np.array(flat, np.dtype(NUMBERS[kind])).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise refused(422, f"should hold values of {kind}: {error}", name) from None


def packed(name: str, kind: str, shape: Sequence[int], data: bytes) -> np.ndarray:
    """A tensor whose values are bytes: numbers in little endian, texts each behind its length in four bytes."""
    count = _count(name, kind, shape)
    if kind != "BYTES":
        if count * np.dtype(NUMBERS[kind]).itemsize != len(data):
            raise refused(422, f"has {len(data)} bytes; {kind} {list(shape)} has another number", name)
        return np.frombuffer(data, NUMBERS[kind]).reshape(shape)
    found, place = [], 0
    while place + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, place)
        found.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    if place != len(data) or len(found) != count:
        raise refused(422, f"should hold {count} texts, each behind its length in four bytes", name)
    return np.array(found, object).reshape(shape)


def bytes_of(output: Output, values: np.ndarray) -> bytes:
    """The values of an output as `packed` reads them."""
    if output.datatype != "BYTES":
        return values.astype(NUMBERS[output.datatype]).tobytes()
    return framed([str(value).encode() for value in values.ravel()])


def framed(texts: Iterable[bytes]) -> bytes:
    """Texts, each behind its length in four bytes."""
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _count(name: str, kind: str, shape: Sequence[int]) -> int:
    if kind != "BYTES" and kind not in NUMBERS:
        raise refused(422, f"is {kind!r}; known are BYTES, {', '.join(NUMBERS)}", name)
    if not shape or len(shape) > 4 or min(shape) < 1:
        raise refused(422, f"has shape {list(shape)}; send one to four axes, each at least 1", name)
    return math.prod(shape)


def _text(cell: Any, name: str) -> Any:
    """A tensor has no nulls: an empty text is a value that is not there."""
    try:
        return (cell.decode() if isinstance(cell, bytes) else cell) if cell not in (b"", "") else None
    except UnicodeDecodeError as error:
        raise refused(422, f"is not text in UTF-8: {error}", name) from None
