"""The embedded default: SQLite in WAL mode, shared by all processes of one machine.

An event is one transaction: read what other processes appended to its entities, append its own entries, remember the
answer. It is in the operating system's hands at the commit, so a killed process loses nothing that it acknowledged;
`?synchronous=full` adds a disk flush per event against power loss. Live states are cached by each process and brought up
to date from the log, not read again.
"""

import time
from array import array
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from math import isnan
from threading import RLock

import orjson

from ray_mlops.online import codec
from ray_mlops.online.contract import COUNTS, Stats
from ray_mlops.online.history import History
from ray_mlops.online.plan import LATENESS_US, Plan, Seen, Stream
from ray_mlops.online.record import Record
from ray_mlops.online.sqlite_database import STATEMENTS, SWEPT, Checkpoints, connect, explained, schema
from ray_mlops.online.state import EntityState

CACHED_STATES = 32_768
PART_BYTES = 2_048  # an event rewrites the last part of its entity's log: small parts, few bytes
LARGE_BYTES = 65_536  # history that is summed at once, so that the first event need not wait for it


@dataclass(slots=True)
class Cached:
    """A live state and how far it has come: the last part read and its bytes, the size of snapshot and entries. `synced`
    says up to which change of the database by others."""

    state: EntityState
    part: int = -1
    tail: bytes = b""
    is_base: bool = False
    base_bytes: int = 0
    entry_bytes: int = 0
    synced: int = -1


class SqliteShelf:
    """States as logs of parts, records as rows; `digest` of the plan names the tables."""

    def __init__(self, path: str, plan: Plan, *, synchronous: str = "normal") -> None:
        self.counts: Counter[str] = Counter()
        self._plan = plan
        self._lock = RLock()
        self._path = path
        self._sql = {name: text.format(plan.digest, SWEPT) for name, text in STATEMENTS.items()}
        self._cache: OrderedDict[tuple[int, str], Cached] = OrderedDict()
        self._touched: dict[tuple[int, str], Cached] = {}
        self._parts: defaultdict[tuple[int, str], dict[int, bytes]] = defaultdict(dict)
        self._saved: dict[int | str, Record] = {}
        self._seen_version, self._version = -1, 0
        self._log_cursor: tuple[int, str] = (-1, "")
        self._before_all = "" if plan.text_keys else -(1 << 63)
        self._record_cursor: int | str = self._before_all
        with explained(path):
            self._db = connect(path, synchronous)
            self._db.executescript(schema(plan.digest, "TEXT" if plan.text_keys else "INTEGER"))
        self._checkpoints = Checkpoints(path)

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[None]:
        with self._lock, explained(self._path):
            self._db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            counted = dict(self.counts)
            try:
                self._look_for_changes()
                yield
                if write:
                    self._flush()
                self._db.execute("COMMIT")
            except BaseException:
                self.counts = Counter(counted)
                self._forget_changes()
                raise
            self._touched.clear()
            while len(self._cache) > CACHED_STATES:
                self._cache.popitem(last=False)

    def record(self, id: int | str) -> Record | None:
        if id in self._saved:
            return self._saved[id]
        row = self._db.execute(self._sql["record"], (id,)).fetchone()
        return None if row is None else _record(row)

    def known(self, ids: Sequence[int | str]) -> dict[int | str, Record]:
        found: dict[int | str, Record] = {}
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            rows = self._db.execute(self._sql["known"] % ",".join("?" * len(some)), some)
            found.update((id, Record(id, time, (), label, label_time)) for id, time, label, label_time in rows)
        return found

    def save(self, record: Record) -> None:
        self._saved[record.id] = record

    def state(self, stream: Stream, entity: str) -> EntityState:
        key = (stream.number, entity)
        cached = self._cache.get(key)
        if cached is None:
            cached = self._cache[key] = Cached(EntityState(stream))
        else:
            self._cache.move_to_end(key)
        if cached.synced != self._version:
            self._catch_up(stream, entity, cached)
        self._touched[key] = cached
        return cached.state

    def log_event(self, stream: Stream, entity: str, seen: Seen) -> None:
        self._append(stream, entity, codec.event_entry(codec.head(seen.time, seen.id), seen.values[stream.number]))

    def log_label(self, stream: Stream, entity: str, kind: bytes, record: Record) -> None:
        assert record.time is not None and record.label is not None
        tail = codec.label_tail(record.label_time, record.label)
        self._append(stream, entity, kind + codec.head(record.time, record.id) + tail)

    def _append(self, stream: Stream, entity: str, entry: bytes) -> None:
        cached = self._touched[stream.number, entity]
        if cached.part < 0 or cached.is_base or len(cached.tail) + len(entry) > PART_BYTES:
            cached.part, cached.tail, cached.is_base = max(cached.part, _origin()) + 1, b"", False
        cached.tail += entry
        cached.entry_bytes += len(entry)
        self._parts[stream.number, entity][cached.part] = cached.tail

    def absorb(self, history: History) -> None:
        origin, large = _origin(), []
        for stream in self._plan.streams:
            rows = [(stream.number, *entries, origin) for entries in history.entries(stream)]
            self._db.executemany(self._sql["extend"], rows)
            large += [(stream, name) for _, name, data, _, _ in rows if len(data) > LARGE_BYTES]
        self._db.executemany(self._sql["remember"], _remembered(history))
        self._version += 1  # live states have to read what was appended behind their back
        for stream, entity in large:
            self.state(stream, entity).advance(stream, history.end)

    def sweep(self, plan: Plan, now: int) -> None:
        self._sweep_records(now - plan.memory_us)
        some = self._db.execute(self._sql["walk"], self._log_cursor).fetchall()
        self._log_cursor = some[-1][:2] if len(some) == SWEPT else (-1, "")
        for number, entity, dated in some:
            stream = plan.streams[number]
            if dated <= now - stream.reach_us - LATENESS_US and not self._parts.get((number, entity)):
                self._db.execute(self._sql["clear"], (number, entity))
                self._cache.pop((number, entity), None)

    def stats(self) -> Stats:
        with self.transaction():
            self._flush_counts()
            counts = {name: value for name, value in self._db.execute(self._sql["counts"]) if name in COUNTS}
            entities, size = self._db.execute(self._sql["sizes"]).fetchone()
            records = self._db.execute(self._sql["remembered"]).fetchone()[0]
        return Stats(**counts, entities=entities, records=records, bytes=size or 0)

    def close(self) -> None:
        with self.transaction():
            self._flush_counts()
        self._checkpoints.stop()
        self._db.close()

    def _sweep_records(self, limit: int) -> None:
        some = self._db.execute(self._sql["browse"], (self._record_cursor,)).fetchall()
        self._record_cursor = some[-1][0] if len(some) == SWEPT else self._before_all
        self._db.executemany(self._sql["forget"], [(id,) for id, dated in some if dated < limit])

    def _look_for_changes(self) -> None:
        """Notice whether another connection has changed the database since the last transaction."""
        version = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version != self._seen_version:
            self._seen_version = version
            self._version += 1

    def _catch_up(self, stream: Stream, entity: str, cached: Cached) -> None:
        rows = self._read(stream, entity, cached.part)
        if cached.part >= 0 and (not rows or rows[0][0] != cached.part):
            # Another process has rewritten the log: start over from its snapshot.
            cached.state, cached.part, cached.base_bytes, cached.entry_bytes = EntityState(stream), -1, 0, 0
            rows = self._read(stream, entity, -1)
        for part, is_base, data in rows:
            if is_base and part != cached.part:
                cached.state, cached.base_bytes = codec.unpack(stream, data), len(data)
            elif not is_base:
                fresh = data[len(cached.tail) :] if part == cached.part else data
                codec.apply(stream, cached.state, fresh)
                cached.entry_bytes += len(fresh)
            cached.part, cached.tail, cached.is_base = part, data, bool(is_base)
        cached.synced = self._version

    def _read(self, stream: Stream, entity: str, part: int) -> list[tuple[int, int, bytes]]:
        return self._db.execute(self._sql["read"], (stream.number, entity, part)).fetchall()

    def _flush(self) -> None:
        for key, cached in self._touched.items():
            if cached.entry_bytes > max(2 * PART_BYTES, cached.base_bytes // 2):
                self._rewrite(key, cached)
        parts = [
            (*key, part, 0, self._touched[key].state.newest or 0, data)
            for key, changed in self._parts.items()
            for part, data in changed.items()
        ]
        self._db.executemany(self._sql["write"], parts)
        self._db.executemany(self._sql["save"], map(_row, self._saved.values()))
        self._parts.clear()
        self._saved.clear()
        if sum(self.counts.values()) >= 32:
            self._flush_counts()

    def _rewrite(self, key: tuple[int, str], cached: Cached) -> None:
        """Replace the log of a state by a snapshot."""
        self._parts.pop(key, None)
        self._db.execute(self._sql["clear"], key)
        data = codec.pack(cached.state)
        cached.part, cached.tail, cached.is_base = cached.part + 1, data, True
        cached.base_bytes, cached.entry_bytes = len(data), 0
        self._db.execute(self._sql["write"], (*key, cached.part, 1, cached.state.newest or 0, data))

    def _flush_counts(self) -> None:
        self._db.executemany(self._sql["count"], list(self.counts.items()))
        self.counts.clear()

    def _forget_changes(self) -> None:
        """Undo: the live states have been changed by what is now rolled back."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        for key in self._touched:
            self._cache.pop(key, None)
        for changes in (self._touched, self._parts, self._saved):
            changes.clear()


def _origin() -> int:
    """A number that no earlier log of the same entity has used: parts are never mistaken for those of a dropped log."""
    return time.time_ns() // 1000


def _remembered(history: History) -> Iterator[tuple]:
    """What is remembered of each row of a history, which has not been answered."""
    columns = [history.entities[stream.entities].to_pylist() for stream in history.plan.labelled]
    named = map(cache(_named), zip(*columns, strict=True)) if columns else repeat(None, len(history))
    labels = [None if isnan(label) else label for label in history.labels.tolist()]
    return zip(history.keys, history.times.tolist(), named, labels, history.label_times.tolist(), strict=True)


def _row(record: Record) -> tuple:
    answer = None if record.answer is None else array("d", record.answer).tobytes()
    entities = _named(record.entities) if record.entities else None
    return record.id, record.time, entities, record.label, record.label_time, answer


def _named(entities: tuple[str | None, ...]) -> str:
    return orjson.dumps(entities).decode()


def _record(row: tuple) -> Record:
    id, time, entities, label, label_time, answer = row
    named = tuple(orjson.loads(entities)) if entities else ()
    return Record(id, time, named, label, label_time, None if answer is None else array("d", answer))
