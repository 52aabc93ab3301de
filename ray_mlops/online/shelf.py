"""What happens to a store when an event or a label comes, for stores whose state this process may change itself."""

from collections import Counter, deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from ray_mlops.online import codec
from ray_mlops.online.aggregates import answer
from ray_mlops.online.contract import Stats
from ray_mlops.online.history import History
from ray_mlops.online.plan import Plan, Seen, Stream
from ray_mlops.online.record import Record
from ray_mlops.online.state import EntityState


class Shelf(Protocol):
    """Where states and records lie. Used within `transaction`, which one thread of one process holds at a time."""

    counts: Counter[str]

    def transaction(self, *, write: bool = True) -> AbstractContextManager[None]:
        """All changes within become visible and lasting at its end, or none of them."""
        ...

    def record(self, id: int | str) -> Record | None: ...

    def known(self, ids: Sequence[int | str]) -> dict[int | str, Record]:
        """Which of them are remembered, with time and label; at the beginning of a transaction."""
        ...

    def save(self, record: Record) -> None: ...

    def state(self, stream: Stream, entity: str) -> EntityState:
        """The live state; what is done to it must be appended too."""
        ...

    def log_event(self, stream: Stream, entity: str, seen: Seen) -> None:
        """Append an event that has been inserted into the live state."""
        ...

    def log_label(self, stream: Stream, entity: str, kind: bytes, record: Record) -> None:
        """Append a change of a label (`codec.LABEL` or `codec.RETRACT`) that has been made to the live state."""
        ...

    def absorb(self, history: History) -> None:
        """Append the entries of a history and save its records, none of which are remembered."""
        ...

    def sweep(self, plan: Plan, now: int) -> None:
        """Drop some of what is too old for an event at `now`; called often, does little each time."""
        ...

    def stats(self) -> Stats: ...

    def close(self) -> None: ...


class Clock:
    """A time that has passed for good: the oldest of the last 64 events, so that one wrong date drops nothing.
    `passed` is None until there have been some."""

    EVERY, RECENT = 32, 64

    def __init__(self) -> None:
        self.passed: int | None = None
        self._recent: deque[int] = deque(maxlen=self.RECENT)
        self._ticks = 0

    def tick(self, time: int) -> bool:
        """Note the time of an event; whether it is time to sweep, at every 32nd."""
        self._recent.append(time)
        self._ticks += 1
        if self._ticks % self.EVERY:
            return False
        self.passed = min(self._recent)
        return True


def observe(plan: Plan, shelf: Shelf, seen: Seen, clock: Clock) -> Sequence[float]:
    """Record an event and answer it; a known one is only answered."""
    record = shelf.record(seen.id)
    if record is not None and record.time is not None:
        return _again(plan, shelf, seen, record)
    states = states_of(plan, shelf, seen)
    features = answer(plan, seen, states)
    _insert(plan, shelf, seen, states)
    if clock.tick(seen.time) and clock.passed is not None:
        shelf.sweep(plan, clock.passed)
    tidy(plan, states, clock)
    entities = tuple(seen.entities[stream.number] for stream in plan.labelled)
    fresh = Record(seen.id, seen.time, entities, answer=features)
    if record is not None and record.label is not None:
        fresh = fresh._replace(label=record.label, label_time=record.label_time)
        _label(plan, shelf, fresh, codec.LABEL)
        shelf.counts["waiting"] -= 1
        shelf.counts["labels"] += 1
    shelf.save(fresh)
    return features


def _again(plan: Plan, shelf: Shelf, seen: Seen, record: Record) -> Sequence[float]:
    """The answer to a known event: the one that it got, or its first where it came in a history."""
    shelf.counts["duplicates"] += 1
    if record.answer is not None:
        return record.answer
    features = answer(plan, seen, states_of(plan, shelf, seen))
    shelf.save(record._replace(answer=features))
    return features


def states_of(plan: Plan, shelf: Shelf, seen: Seen) -> list[EntityState | None]:
    """The state of the event's entity in each stream; None where it has none."""
    return [
        None if entity is None else shelf.state(stream, entity)
        for stream, entity in zip(plan.streams, seen.entities, strict=True)
    ]


def label(plan: Plan, shelf: Shelf, id: int | str, value: float, time: int) -> bool:
    """Record a label; whether its event is known."""
    record = shelf.record(id)
    if record is None or record.time is None:
        shelf.counts["waiting"] += record is None
        shelf.save(Record(id, label=value, label_time=time))
        return False
    if (record.label, record.label_time) == (value, time):
        return True
    if record.label is not None:
        _label(plan, shelf, record, codec.RETRACT)
    else:
        shelf.counts["labels"] += 1
    record = record._replace(label=value, label_time=time)
    _label(plan, shelf, record, codec.LABEL)
    shelf.save(record)
    return True


def absorb(plan: Plan, shelf: Shelf, history: History) -> int:
    """Record the rows of a history whose events are not known; their number."""
    found = shelf.known(history.keys)
    fresh = history.take(np.flatnonzero([key not in found or found[key].time is None for key in history.keys]))
    shelf.absorb(fresh)
    shelf.counts["events"] += len(fresh)
    shelf.counts["labels"] += int(np.count_nonzero(~np.isnan(fresh.labels)))
    for waiting in found.values():
        if waiting.time is None and waiting.label is not None:
            shelf.counts["waiting"] -= 1
            label(plan, shelf, waiting.id, waiting.label, waiting.label_time)
    return len(fresh)


def lateness(plan: Plan, seen: Seen, states: Sequence[EntityState | None]) -> tuple[bool, bool]:
    """Whether a newer event of one of its entities came before, and whether no window of any will reach this one."""
    newest = [
        (stream.reach_us, state.newest)
        for stream, state in zip(plan.streams, states, strict=True)
        if state is not None and not stream.by_arrival
    ]
    late = any(newer is not None and newer > seen.time for _, newer in newest)
    return late, late and all(newer is not None and newer - reach >= seen.time for reach, newer in newest)


def tidy(plan: Plan, states: Sequence[EntityState | None], clock: Clock) -> None:
    """Drop and sum what states need not hold in full any more."""
    if clock.passed is not None:
        for stream, state in zip(plan.streams, states, strict=True):
            if state is not None:
                state.advance(stream, clock.passed)


def _insert(plan: Plan, shelf: Shelf, seen: Seen, states: Sequence[EntityState | None]) -> None:
    late, expired = lateness(plan, seen, states)
    shelf.counts["events"] += 1
    shelf.counts["late"] += late
    shelf.counts["expired"] += expired
    for stream, state, entity, values in zip(plan.streams, states, seen.entities, seen.values, strict=True):
        if state is None or entity is None:
            continue
        if not stream.by_arrival:
            state.insert(seen.time, seen.time, seen.id, values)
            shelf.log_event(stream, entity, seen)


def _label(plan: Plan, shelf: Shelf, record: Record, kind: bytes) -> None:
    assert record.time is not None and record.label is not None
    change = (record.time, record.id, record.label_time, record.label)
    for stream, entity in zip(plan.labelled, record.entities, strict=True):
        if entity is not None:
            state = shelf.state(stream, entity)
            codec.change_label(stream, state, kind, change)
            shelf.log_label(stream, entity, kind, record)
