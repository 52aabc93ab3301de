"""The log of an entity as one Redis string: generation, length of the snapshot, snapshot, entries."""

import struct
import time
from dataclasses import dataclass

from ray_mlops.online import codec
from ray_mlops.online.plan import Stream
from ray_mlops.online.state import EntityState

REWRITE_BYTES = 4_096  # entries that are worth a snapshot
_HEADER = struct.Struct("<8sq")


@dataclass(slots=True)
class Cached:
    """A live state and how much of which generation of its log is in it; `base` is the length of the snapshot."""

    state: EntityState
    generation: bytes = b""
    length: int = 0
    base: int = 0

    def catch_up(self, stream: Stream, entries: bytes) -> None:
        """Take in what has been appended since."""
        codec.apply(stream, self.state, entries)
        self.length += len(entries)

    @property
    def is_long(self) -> bool:
        """Whether a snapshot should take the place of the entries."""
        return self.length - self.base > max(REWRITE_BYTES, self.base // 2)

    def rewritten(self) -> bytes:
        """The log of a new generation with the state as its snapshot."""
        data = codec.pack(self.state)
        return _HEADER.pack(generation(), len(data)) + data


def generation() -> bytes:
    """Eight bytes that no log has begun with before."""
    return struct.pack(">q", time.time_ns())


def opened(stream: Stream, log: bytes) -> Cached:
    """The state in a whole log; an empty one from no bytes."""
    if not log:
        return Cached(EntityState(stream))
    generation, base = _HEADER.unpack_from(log)
    state = codec.unpack(stream, log[_HEADER.size : _HEADER.size + base])
    codec.apply(stream, state, log[_HEADER.size + base :])
    return Cached(state, generation, len(log), base + _HEADER.size)
