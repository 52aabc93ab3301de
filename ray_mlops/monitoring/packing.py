"""Statistics of a block on their way to where they are merged: JSON and arrays of numbers, nothing that runs code when read."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ray_mlops.monitoring.profile import ColumnPart, Day, TablePart
from ray_mlops.monitoring.statistics import Bins, ExactSum, Moments, Tally

_KINDS = {kind.__name__: kind for kind in (TablePart, ColumnPart, Day, Tally, Moments, Bins, ExactSum)}


def packed(part: TablePart) -> bytes:
    """The statistics as the bytes of an NPZ file: an array of each of theirs, and beside them the rest as JSON."""
    arrays: list[np.ndarray] = []
    told = json.dumps(_told(part, arrays)).encode()
    stream = io.BytesIO()
    np.savez(stream, np.frombuffer(told, np.uint8), *arrays, allow_pickle=False)
    return stream.getvalue()


def unpacked(content: bytes) -> TablePart:
    """What was `packed`, to the last bit; raises `ValueError` for what was not."""
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        told, *arrays = [found[f"arr_{number}"] for number in range(len(found.files))]
    return _made(json.loads(told.tobytes()), arrays)


def _told(value: Any, arrays: list[np.ndarray]) -> Any:
    """A value as JSON; arrays of numbers go to `arrays`, those of texts stay."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return {"texts": value.tolist()}
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if is_dataclass(value):
        told = [[each.name, _told(getattr(value, each.name), arrays)] for each in fields(value)]
        return {"kind": type(value).__name__, "fields": told}
    if isinstance(value, Mapping):
        return {"items": [[name, _told(each, arrays)] for name, each in value.items()]}
    return value


def _made(told: Any, arrays: Sequence[np.ndarray]) -> Any:
    match told:
        case {"array": number}:
            return arrays[number]
        case {"texts": texts}:
            return np.array(texts, dtype=object)
        case {"kind": kind, "fields": named}:
            return _KINDS[kind](**{name: _made(each, arrays) for name, each in named})
        case {"items": items}:
            return {name: _made(each, arrays) for name, each in items}
    return told
