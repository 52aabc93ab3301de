"""How the fields of an event are read: ids, times, values and the texts that name entities."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np

from ray_mlops.contract import Schema
from ray_mlops.errors import DataError
from ray_mlops.fraud.windows import DAY_US

_MAX = (1 << 63) - 1
_MAX_KEY_BYTES = 65_535
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999
_MISSING = math.nan


def instant(value: Any, name: str = "time") -> int:
    """Integer microseconds since the epoch; a time without a zone is UTC. DataError where it is no time."""
    if isinstance(value, datetime):
        passed = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
        return passed.days * DAY_US + passed.seconds * 1_000_000 + passed.microseconds
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and _FIRST <= value <= _LAST:
        return int(value)
    if isinstance(value, np.datetime64) and not np.isnat(value):
        return int(value.astype("datetime64[us]").astype(np.int64))
    try:
        return instant(datetime.fromisoformat(value if isinstance(value, str) else ""), name)
    except ValueError:
        raise DataError(f"{name}: {_short(value)} is no time. Send ISO 8601, such as 2018-08-08T12:00:00Z.") from None


@lru_cache(maxsize=65_536)
def text_code(text: str) -> float:
    """A number for a value that is only compared: 53 bits of a hash, which a double holds exactly."""
    return float(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 11)


def label_value(value: Any) -> float:
    """A label as a finite number; DataError where it is none."""
    try:
        read = float(value)
    except (TypeError, ValueError, OverflowError):
        read = _MISSING
    if not math.isfinite(read):
        raise DataError(f"label: {_short(value)} is no number. Send 1 for fraud and 0 for none.")
    return read


def value_reader(data: Schema, name: str) -> Callable[[Any], float]:
    """Reads a column's values as doubles: NaN where missing; text, which is only compared, as a code."""
    kind = data.column(name).type
    if kind == "string":
        return lambda value: _MISSING if value is None else text_code(_encodable(str(value), name))
    if kind == "timestamp":
        return lambda value: _MISSING if value is None else float(instant(value, name))

    def number(value: Any) -> float:
        if value is None:
            return _MISSING
        read = _number(value, name)
        return read if math.isfinite(read) else _MISSING

    return number


def input_reader(data: Schema, name: str) -> Callable[[Any], float | str | None]:
    """Reads an input column before encoding: a float, NaN where null, or a string as it is."""
    if data.column(name).type == "string":
        return lambda value: None if value is None else str(value)
    return lambda value: _MISSING if value is None else _number(value, name)


def key_reader(data: Schema) -> Callable[[Any], int | str]:
    """Reads event ids in the type of the key column; DataError where one identifies no event."""
    name, is_number = data.key, data.column(data.key).type == "int64"

    def read(value: Any) -> int | str:
        try:
            if is_number and not isinstance(value, bool | float) and -_MAX <= int(value) <= _MAX:
                return int(value)
        except (TypeError, ValueError):
            pass
        if not is_number and isinstance(value, str) and len(_encodable(value, name).encode()) <= _MAX_KEY_BYTES:
            return value
        expected = "an integer of 64 bits" if is_number else f"a string of at most {_MAX_KEY_BYTES} bytes"
        raise DataError(f"{name}: {_short(value)} identifies no event. Send {expected}.")

    return read


def entity_reader(data: Schema, name: str) -> Callable[[Any], str]:
    """Reads a column's values as the text that names the entity."""
    # 7 and 7.0 are the same entity of an integer column, whichever the wire format made of it.
    kinds: dict[str, Callable[[Any], str]] = {
        "int64": lambda value: str(int(value)),
        "bool": lambda value: str(bool(value)),
        "float64": lambda value: repr(float(value)),
        "timestamp": lambda value: str(instant(value, name)),
    }
    return kinds.get(data.column(name).type, lambda value: _encodable(str(value), name))


def entity_text(event: Mapping[str, Any], readers: Sequence[tuple[str, Callable[[Any], str]]]) -> str | None:
    """The text that names an event's entity, from its columns and their readers; None where one is null."""
    parts: list[str] = []
    for name, read in readers:
        value = event.get(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        try:
            parts.append(read(value))
        except DataError:
            raise
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{name}: {_short(value)} is not of the column's type.") from None
    return parts[0] if len(parts) == 1 else joined(parts)


def joined(parts: Sequence[str]) -> str:
    """The text of a composite entity. The separator cannot be mistaken for part of a value: there it is escaped."""
    return "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        message = f"{name}: {_short(value)} is no number. Send a number, or null where it is unknown."
        raise DataError(message) from None


def _encodable(text: str, name: str) -> str:
    """The text itself; DataError for half a surrogate pair, which JSON can carry and UTF-8 cannot."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"{name}: {_short(text)} is not valid Unicode.") from None
    return text


def _short(value: Any) -> str:
    shown = (
        repr(value) if not isinstance(value, int) else "an integer out of range" if abs(value) > 1 << 70 else str(value)
    )
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
