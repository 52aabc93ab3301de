"""State in Redis, for clusters: any number of replicas on any number of machines.

A scoring request is one round trip: one script appends the entries of the event to the logs of its entities and returns
what other replicas have appended since this one last looked. The windows are computed here, by the same code as
everywhere; the answer is sent after it, and nobody waits for that. The script is atomic, so what two replicas see of an
entity is always one the beginning of the other, and a retry that overtakes the answer is computed from the same
beginning. All keys of a store share a hash tag: on a Redis cluster they live on one shard.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from threading import RLock

import numpy as np
import pyarrow as pa

from ray_mlops.online import codec
from ray_mlops.online import redis_scripts as lua
from ray_mlops.online.aggregates import answer
from ray_mlops.online.contract import COUNTS, Event, Features, Instant, Stats
from ray_mlops.online.history import History
from ray_mlops.online.plan import LATENESS_US, Plan, Seen, Stream
from ray_mlops.online.reading import instant, label_value
from ray_mlops.online.redis_log import Cached, generation, opened
from ray_mlops.online.redis_wire import Command, Wire
from ray_mlops.online.shelf import Clock, lateness, tidy
from ray_mlops.online.state import EntityState

ROOT = "ray-mlops:{{{}}}:"  # of all keys of the plan with this digest
CACHED_STATES = 32_768
LARGE_BYTES = 65_536  # history that is summed at once
RECORDS_PER_CALL = 1_000
_SCRIPTS = (lua.OBSERVE, lua.PEEK, lua.LABEL, lua.KNOWN, lua.EXTEND, lua.REMEMBER, lua.REWRITE)


class RedisStore:
    """An `EntityStore` on a Redis server."""

    def __init__(self, url: str, plan: Plan) -> None:
        self.definition = plan.definition
        self._plan, self._lock, self._clock = plan, RLock(), Clock()
        self._root = ROOT.format(plan.digest)
        self._wire = Wire(url, _SCRIPTS)
        self._cache: OrderedDict[str, Cached] = OrderedDict()
        self._log_ttl = (plan.reach_us + 2 * LATENESS_US) // 1000
        self._record_ttl = plan.memory_us // 1000

    def observe(self, event: Event) -> Features:
        return self.observe_many([event])[0]

    def observe_many(self, events: Sequence[Event]) -> list[Features]:
        read = [self._plan.read(event) for event in events]
        with self._lock:
            replies = self._observe(read)
            later: list[Command] = []
            answers = [self._answer(seen, reply, later) for seen, reply in zip(read, replies, strict=True)]
            for key in dict.fromkeys(key for seen in read for _, key in self._logs(seen)):
                later += self._rewritten(key)
            self._wire.send(later)
            while len(self._cache) > CACHED_STATES:
                self._cache.popitem(last=False)
        return self._plan.features(read, answers)

    def peek(self, event: Event) -> Features:
        seen = self._plan.read(event)
        logs = self._logs(seen)
        with self._lock:
            known = [part for stream, key in logs for part in self._known(stream, key)]
            reply = self._wire.script(lua.PEEK, [key for _, key in logs], known)
            states = self._caught_up(seen, reply)
            return self._plan.features([seen], [answer(self._plan, seen, states)])[0]

    def label(self, event_id: int | str, value: float, time: Instant) -> bool:
        return self.label_many([(event_id, value, time)])[0]

    def label_many(self, labels: Iterable[tuple[int | str, float, Instant]]) -> list[bool]:
        calls = []
        for id, value, when in labels:
            tail = codec.label_tail(instant(when, "label time"), label_value(value))
            keys = [self._root + "counts", self._record(self._plan.key(id))]
            calls.append((lua.LABEL, keys, [*self._ages(), tail]))
        with self._lock:
            return [reply == 1 for reply in self._wire.scripts(calls)]

    def absorb(self, history: pa.Table) -> int:
        rows = History.of(self._plan, history)
        with self._lock:
            known: list[int] = []
            for start in range(0, len(rows), RECORDS_PER_CALL):
                keys = [self._record(key) for key in rows.keys[start : start + RECORDS_PER_CALL]]
                known += self._wire.script(lua.KNOWN, keys, [])
            fresh = rows.take(np.flatnonzero(np.array(known, np.int64) == 0))
            # Logs first: should this process die before the records are there, the next attempt appends the same rows
            # again, and a row that is there already is not counted twice. Sums last: they cannot tell which rows they hold.
            large = [(stream, key) for stream in self._plan.streams for key in self._extend(stream, fresh)]
            self._remember(fresh)
            for stream, key in large:
                self._summed(stream, key, fresh.end)
            return len(fresh)

    def stats(self) -> Stats:
        with self._lock, self._wire.client() as client:
            counts = dict(zip(COUNTS, client.hmget(self._root + "counts", COUNTS), strict=True))
            logs = list(client.scan_iter(self._root + "log:*", count=1000))
            sizes = self._wire.commands([("STRLEN", key) for key in logs])
            records = sum(1 for _ in client.scan_iter(self._root + "event:*", count=1000))
        counts = {name: int(value or 0) for name, value in counts.items()}
        return Stats(**counts, entities=len(logs), records=records, bytes=sum(sizes))

    def close(self) -> None:
        with self._lock:
            self._wire.commands([("PING",)])  # what was sent before has been done when the answer comes
            self._wire.close()

    def _observe(self, read: Sequence[Seen]) -> list[list]:
        logs = {key: stream for seen in read for stream, key in self._logs(seen)}
        places = {key: place for place, key in enumerate(logs, start=1)}
        arguments: list = [*self._ages(), len(logs), len(read)]
        for key, stream in logs.items():
            arguments += self._known(stream, key)
        for seen in read:
            named, own = codec.head(seen.time, seen.id), self._logs(seen)
            arguments += (named, self._label_keys([seen.entities[s.number] for s in self._plan.labelled]), len(own))
            for stream, key in own:
                entry = b"" if stream.by_arrival else codec.event_entry(named, seen.values[stream.number])
                arguments += (places[key], entry)
        keys = [self._root + "counts", *logs, *(self._record(seen.id) for seen in read)]
        return self._wire.script(lua.OBSERVE, keys, arguments)

    def _answer(self, seen: Seen, reply: list, later: list[Command]) -> Sequence[float]:
        """The features of an event from the reply to it; `later` collects what is to be sent without waiting."""
        known, *logs = reply
        if known and logs[0]:
            return array("d", logs[0])
        if known:
            features = answer(self._plan, seen, self._as_then(seen, logs[1:]))
        else:
            states = self._caught_up(seen, logs)
            features = answer(self._plan, seen, states)
            for name, happened in zip(("late", "expired"), lateness(self._plan, seen, states), strict=True):
                if happened:
                    later.append(("HINCRBY", self._root + "counts", name, 1))
            self._clock.tick(seen.time)
            tidy(self._plan, states, self._clock)
        later.append(("HSETNX", self._record(seen.id), "a", array("d", features).tobytes()))
        return features

    def _caught_up(self, seen: Seen, reply: Sequence) -> list[EntityState | None]:
        """The live states of an event's entities, with what the reply brought."""
        states: list[EntityState | None] = [None] * len(self._plan.streams)
        for (stream, key), start, data in zip(self._logs(seen), reply[::2], reply[1::2], strict=True):
            cached = self._cache[key]
            if start == 0:
                cached = self._cache[key] = opened(stream, data)
            else:
                cached.catch_up(stream, data)
            states[stream.number] = cached.state
        return states

    def _as_then(self, seen: Seen, logs: Sequence[bytes]) -> list[EntityState | None]:
        """The states as they were when an event was observed first."""
        states: list[EntityState | None] = [None] * len(self._plan.streams)
        for (stream, _), data in zip(self._logs(seen), logs, strict=True):
            states[stream.number] = opened(stream, data).state
        return states

    def _rewritten(self, key: str) -> list[Command]:
        """The command that puts a snapshot in place of a log, where that is worth it."""
        cached = self._cache[key]
        if not cached.is_long:
            return []
        arguments = [cached.generation, cached.length, cached.rewritten(), self._log_ttl]
        return [self._wire.command(lua.REWRITE, [key], arguments)]

    def _extend(self, stream: Stream, history: History) -> list[str]:
        """Append the entries of a history to the logs of its entities; those that have grown large at once."""
        generation, ttl, _ = self._ages()
        entries = [(self._log(stream, entity), data) for entity, data, _ in history.entries(stream)]
        for start in range(0, len(entries), RECORDS_PER_CALL):
            keys, data = zip(*entries[start : start + RECORDS_PER_CALL], strict=True)
            self._wire.script(lua.EXTEND, keys, [generation, ttl, *data])
        return [key for key, data in entries if len(data) > LARGE_BYTES]

    def _summed(self, stream: Stream, key: str, now: int) -> None:
        """Rewrite a log that has grown at once, so that the first event need not wait for it."""
        cached = self._cache[key] = opened(stream, self._wire.script(lua.PEEK, [key], [b"", 0])[1])
        cached.state.advance(stream, now)
        self._wire.commands(self._rewritten(key))

    def _remember(self, fresh: History) -> None:
        keys: list[str] = []
        arguments: list = []
        for record in fresh.records():
            assert record.time is not None
            label = b"" if record.label is None else codec.label_tail(record.label_time, record.label)
            keys.append(self._record(record.id))
            arguments += (codec.head(record.time, record.id), self._label_keys(record.entities), label)
        for start in range(0, len(keys), RECORDS_PER_CALL):
            end = start + RECORDS_PER_CALL
            some = [self._root + "counts", *keys[start:end]]
            self._wire.script(lua.REMEMBER, some, [*self._ages(), *arguments[3 * start : 3 * end]])

    def _known(self, stream: Stream, key: str) -> tuple[bytes, int]:
        cached = self._cache.get(key)
        if cached is None:
            cached = self._cache[key] = Cached(EntityState(stream))
        self._cache.move_to_end(key)
        return cached.generation, cached.length

    def _logs(self, seen: Seen) -> list[tuple[Stream, str]]:
        pairs = zip(self._plan.streams, seen.entities, strict=True)
        return [(stream, self._log(stream, entity)) for stream, entity in pairs if entity is not None]

    def _label_keys(self, entities: Sequence[str | None]) -> str:
        pairs = zip(self._plan.labelled, entities, strict=True)
        return "\n".join(self._log(stream, entity) for stream, entity in pairs if entity is not None)

    def _log(self, stream: Stream, entity: str) -> str:
        # Names of logs are sent in lists, one a line.
        name = entity.encode("unicode_escape").decode() if "\n" in entity or "\\" in entity else entity
        return f"{self._root}log:{stream.number}:{name}"

    def _record(self, id: int | str) -> str:
        return f"{self._root}event:{id}"

    def _ages(self) -> tuple[bytes, int, int]:
        return generation(), self._log_ttl, self._record_ttl
