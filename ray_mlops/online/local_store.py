"""The store whose state this process changes itself, in memory or in SQLite."""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from ray_mlops.online import shelf as steps
from ray_mlops.online.aggregates import answer
from ray_mlops.online.contract import Event, Features, Instant, Stats
from ray_mlops.online.history import History
from ray_mlops.online.plan import Plan
from ray_mlops.online.reading import instant, label_value
from ray_mlops.online.shelf import Clock, Shelf


class LocalStore:
    """An `EntityStore` over a shelf of states and records."""

    def __init__(self, plan: Plan, shelf: Shelf) -> None:
        self.definition = plan.definition
        self._plan, self._shelf, self._clock = plan, shelf, Clock()

    def observe(self, event: Event) -> Features:
        return self.observe_many([event])[0]

    def observe_many(self, events: Sequence[Event]) -> list[Features]:
        read = [self._plan.read(event) for event in events]
        with self._shelf.transaction():
            answers = [steps.observe(self._plan, self._shelf, seen, self._clock) for seen in read]
        return self._plan.features(read, answers)

    def peek(self, event: Event) -> Features:
        seen = self._plan.read(event)
        with self._shelf.transaction(write=False):
            features = answer(self._plan, seen, steps.states_of(self._plan, self._shelf, seen))
        return self._plan.features([seen], [features])[0]

    def label(self, event_id: int | str, value: float, time: Instant) -> bool:
        return self.label_many([(event_id, value, time)])[0]

    def label_many(self, labels: Iterable[tuple[int | str, float, Instant]]) -> list[bool]:
        read = [(self._plan.key(id), label_value(value), instant(time, "label time")) for id, value, time in labels]
        with self._shelf.transaction():
            return [steps.label(self._plan, self._shelf, *label) for label in read]

    def absorb(self, history: pa.Table) -> int:
        rows = History.of(self._plan, history)
        with self._shelf.transaction():
            return steps.absorb(self._plan, self._shelf, rows)

    def stats(self) -> Stats:
        return self._shelf.stats()

    def close(self) -> None:
        self._shelf.close()
