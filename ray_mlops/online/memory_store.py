"""State in this process only: for replays, tests, and endpoints of one replica that may forget."""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

from ray_mlops.online import codec
from ray_mlops.online.contract import COUNTS, Stats
from ray_mlops.online.history import History
from ray_mlops.online.plan import LATENESS_US, Plan, Seen, Stream
from ray_mlops.online.record import Record
from ray_mlops.online.state import EntityState

SWEPT = 64  # at a time: more than can have come since the last time


class MemoryShelf:
    """Live states and records in dictionaries."""

    def __init__(self, plan: Plan) -> None:
        self.counts: Counter[str] = Counter()
        self._plan = plan
        self._lock = RLock()
        self._records: OrderedDict[int | str, Record] = OrderedDict()
        self._states: list[OrderedDict[str, EntityState]] = [OrderedDict() for _ in plan.streams]

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[None]:
        with self._lock:
            yield

    def record(self, id: int | str) -> Record | None:
        return self._records.get(id)

    def known(self, ids: Sequence[int | str]) -> dict[int | str, Record]:
        return {id: self._records[id] for id in ids if id in self._records}

    def save(self, record: Record) -> None:
        self._records[record.id] = record

    def state(self, stream: Stream, entity: str) -> EntityState:
        states = self._states[stream.number]
        state = states.get(entity)
        if state is None:
            state = states[entity] = EntityState(stream)
        states.move_to_end(entity)
        return state

    def log_event(self, stream: Stream, entity: str, seen: Seen) -> None:
        """The live state is all there is."""

    def log_label(self, stream: Stream, entity: str, kind: bytes, record: Record) -> None:
        """The live state is all there is."""

    def absorb(self, history: History) -> None:
        for stream in self._plan.streams:
            for entity, entries, _ in history.entries(stream):
                state = self.state(stream, entity)
                codec.apply(stream, state, entries)
                state.advance(stream, history.end)
        self._records.update((record.id, record) for record in history.records())

    def sweep(self, plan: Plan, now: int) -> None:
        """Look at the records made first and at the states that have not been asked for longest."""
        for _ in range(SWEPT):
            first = next(iter(self._records.values()), None)
            if first is None or first.dated >= now - plan.memory_us:
                break
            del self._records[first.id]
        for stream, states in zip(plan.streams, self._states, strict=True):
            for _ in range(SWEPT):
                entity, state = next(iter(states.items()), ("", None))
                if state is None or (state.newest or now) > now - stream.reach_us - LATENESS_US:
                    break
                del states[entity]

    def stats(self) -> Stats:
        held = [state for states in self._states for state in states.values()]
        counts = {name: self.counts[name] for name in COUNTS}
        size = sum(len(codec.pack(state)) for state in held)
        return Stats(**counts, entities=len(held), records=len(self._records), bytes=size)

    def close(self) -> None:
        self._records.clear()
        self._states.clear()
