"""What a store of entity state promises, whichever database is behind it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from ray_mlops.contract import Frozen
from ray_mlops.fraud.features import FeatureDefinition

Event = Mapping[str, Any]
Instant = (
    datetime | int | str
)  # an aware datetime, integer microseconds since the epoch, or ISO 8601; no zone means UTC
Features = dict[str, Any]  # by name, before encoding: floats, and strings where an input column is one


COUNTS = ("events", "duplicates", "late", "expired", "labels", "waiting")


class Stats(Frozen):
    """What a store has seen and what it holds.

    `duplicates` are retried events; `late` came after a newer event of the same entity had been seen, `expired` are
    those of them that no window will ever reach; `labels` were applied or are `waiting` for their event. `entities` and
    `bytes` describe the state held now, `records` the events remembered for retries and labels. Of what other processes
    counted in SQLite the last 31 may be missing, for good where one was killed; what is held is exact.
    """

    events: int = 0
    duplicates: int = 0
    late: int = 0
    expired: int = 0
    labels: int = 0
    waiting: int = 0
    entities: int = 0
    records: int = 0
    bytes: int = 0


@runtime_checkable
class EntityStore(Protocol):
    """State per entity behind one definition, shared by every process that opens the same URL with it.

    An event is raw: the columns of `definition.asked`, unencoded. It counts once whatever its id was sent before, and
    a retried id gets the answer it got first. When a call returns, its effect survives the death of the process.
    Raises `DataError` where an event or a label cannot be read and `StorageError` where the database fails; in both
    cases nothing of the call is recorded.
    """

    definition: FeatureDefinition

    def observe(self, event: Event) -> Features:
        """Record an event; its features as they are at its own time, itself included."""
        ...

    def observe_many(self, events: Sequence[Event]) -> list[Features]:
        """`observe` for several events, in the order given, all or none recorded."""
        ...

    def peek(self, event: Event) -> Features:
        """The features `observe` would give now, without recording anything."""
        ...

    def label(self, event_id: int | str, value: float, time: Instant) -> bool:
        """Record that the label of an event became known at `time`; a second label corrects the first.

        False where the event is not (or no longer) known: the label then waits for it as long as it could matter.
        """
        ...

    def label_many(self, labels: Iterable[tuple[int | str, float, Instant]]) -> list[bool]:
        """`label` for several (event id, value, time)."""
        ...

    def absorb(self, history: pa.Table) -> int:
        """Record rows with their labels without computing features; the number of new events. Known ids are skipped.

        `history` has the columns of `definition.needed`, ordered by (time, key).
        """
        ...

    def stats(self) -> Stats:
        """Counts since the store was made, over all processes, and the size of what it holds."""
        ...

    def close(self) -> None:
        """Write what is pending and let go of the database; the store cannot be used afterwards."""
        ...
