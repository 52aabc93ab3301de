"""How the state of an entity is written: a snapshot of its rows, then one short entry for each thing that happened.

Appending an entry costs the same however much is held; a snapshot takes the place of the entries once they have grown to
half its size, so the bytes written per event stay bounded. All numbers are little-endian.

    entry     kind, event time, key, then: an event's values | a label's time and value | the same to be taken back
    run       kind, number of events, column after column: many events of a history, in order
    snapshot  numbers of rows and steps, then column after column
"""

import struct
import sys
from array import array
from collections.abc import Sequence
from functools import cache

from ray_mlops.online.plan import Stream
from ray_mlops.online.state import EntityState

EVENT, LABEL, RETRACT, RUN = b"e", b"l", b"r", b"h"
_HEADER = struct.Struct("<iqq")
_COUNT = struct.Struct("<i")
_UNSETTLED = -(1 << 63)
_TIME_KEY = struct.Struct("<qq")
_TIME_LENGTH = struct.Struct("<qH")
_WHEN_VALUE = struct.Struct("<qd")


@cache
def _doubles(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}d")


def head(time: int, key: int | str) -> bytes:
    """The time and key of an event, as they stand in all entries about it."""
    if isinstance(key, int):
        return _TIME_KEY.pack(time, key)
    text = key.encode()
    return _TIME_LENGTH.pack(time, len(text)) + text


def unhead(data: bytes, offset: int, text_keys: bool) -> tuple[int, int | str, int]:
    """Time, key and where they end."""
    if not text_keys:
        return *_TIME_KEY.unpack_from(data, offset), offset + _TIME_KEY.size
    time, length = _TIME_LENGTH.unpack_from(data, offset)
    start = offset + _TIME_LENGTH.size
    return time, data[start : start + length].decode(), start + length


def event_entry(named: bytes, values: Sequence[float]) -> bytes:
    """An event happened (`named` is its `head`)."""
    return b"".join((EVENT, named, _doubles(len(values)).pack(*values)))


def run_entry(times: array, keys: "array | list[str]", columns: Sequence[array]) -> bytes:
    """These events happened, in this order."""
    return b"".join((RUN, _COUNT.pack(len(times)), _bytes(times), _pack_keys(keys), *map(_bytes, columns)))


def label_tail(time: int, value: float) -> bytes:
    """What follows the `head` in the entry of a label."""
    return _WHEN_VALUE.pack(time, value)


def apply(stream: Stream, state: EntityState, entries: bytes) -> None:
    """Bring a state up to date with entries in the order in which they were written."""
    values_of = _doubles(len(stream.columns))
    offset = 0
    while offset < len(entries):
        kind = entries[offset : offset + 1]
        if kind == RUN:
            offset = _apply_run(stream, state, entries, offset + 1)
            continue
        time, key, offset = unhead(entries, offset + 1, stream.text_keys)
        if kind == EVENT:
            state.insert(time, time, key, values_of.unpack_from(entries, offset))
            offset += values_of.size
        else:
            when, value = _WHEN_VALUE.unpack_from(entries, offset)
            offset += _WHEN_VALUE.size
            change_label(stream, state, kind, (time, key, when, value))


def _apply_run(stream: Stream, state: EntityState, entries: bytes, offset: int) -> int:
    (count,) = _COUNT.unpack_from(entries, offset)
    reader = _Reader(entries, offset + _COUNT.size)
    times, keys = reader.numbers("q", count), reader.keys(stream, count)
    state.extend(times, keys, [reader.numbers("d", count) for _ in stream.columns])
    return reader.offset


def change_label(stream: Stream, state: EntityState, kind: bytes, label: tuple[int, int | str, int, float]) -> None:
    """Put in or take back the label (event time, key, label time, value) of an event."""
    time, key, when, value = label
    assert stream.label is not None
    if stream.by_arrival:
        # A label never counts before its event has passed.
        at = max(when, time + 1)
        values = [value] * len(stream.columns)
        (state.insert if kind == LABEL else state.retract)(at, time, key, values)
    else:
        state.fill(time, key, stream.label, value, undo=kind == RETRACT)


def pack(state: EntityState) -> bytes:
    """A snapshot of the state."""
    cells = state.cells
    settled = _UNSETTLED if state.settled is None else state.settled
    parts = [_HEADER.pack(len(state.at), len(cells) if cells else 0, settled), _bytes(state.at)]
    if state.times is not state.at:
        parts.append(_bytes(state.times))
    parts.append(_pack_keys(state.keys))
    parts.extend(_bytes(column) for column in state.columns)
    if cells:
        parts.extend(_bytes(getattr(owner, name)) for owner, name, _ in cells.arrays())
    return b"".join(parts)


def unpack(stream: Stream, data: bytes) -> EntityState:
    """The state that was packed; an empty one from no bytes."""
    state = EntityState(stream)
    if not data:
        return state
    rows, steps, settled = _HEADER.unpack_from(data)
    reader = _Reader(data, _HEADER.size)
    state.settled = None if settled == _UNSETTLED else settled
    state.at = reader.numbers("q", rows)
    state.times = reader.numbers("q", rows) if stream.by_arrival else state.at
    state.keys = reader.keys(stream, rows)
    state.columns = [reader.numbers("d", rows) for _ in stream.columns]
    if state.cells is not None:
        for owner, name, kind in state.cells.arrays():
            setattr(owner, name, reader.numbers(kind, steps))
    return state


def _bytes(numbers: array) -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _pack_keys(keys: "array | list[str]") -> bytes:
    if isinstance(keys, array):
        return _bytes(keys)
    texts = [key.encode() for key in keys]
    return _bytes(array("q", map(len, texts))) + b"".join(texts)


class _Reader:
    """Walks through a snapshot column by column."""

    def __init__(self, data: bytes, offset: int) -> None:
        self.data, self.offset = data, offset

    def numbers(self, kind: str, count: int) -> array:
        end = self.offset + 8 * count
        numbers = array(kind, self.data[self.offset : end])
        if sys.byteorder == "big":
            numbers.byteswap()
        self.offset = end
        return numbers

    def keys(self, stream: Stream, count: int) -> "array | list[str]":
        numbers = self.numbers("q", count)
        if not stream.text_keys:
            return numbers
        texts = []
        for length in numbers:
            texts.append(self.data[self.offset : self.offset + length].decode())
            self.offset += length
        return texts
