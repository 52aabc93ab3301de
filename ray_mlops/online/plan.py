"""From a feature definition to what a store keeps: the streams of rows of each entity and how to read an event.

Windows of the same entity share one *stream*, the rows that they look at. Two kinds differ: a stream of *events*, ordered
by (time, key), whose label column is filled in later; and a stream of *labels*, ordered by the instant at which each
became known, where the data say when that was. Windows with a resolution have streams of their own, per delay, since
their steps lie on a grid that depends on both.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ray_mlops.fraud.encoding import calendar_columns
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.windows import DAY_US, Aggregate, Window
from ray_mlops.online.reading import entity_reader, entity_text, input_reader, instant, key_reader, value_reader

LATENESS_US = DAY_US  # so much older than the newest of its entity an event still finds all that its windows hold
LABEL_WAIT_US = 180 * DAY_US  # where data say when labels arrived: how long after its event a label is waited for
_MINUTE_US = 60_000_000
ADDITIVE: frozenset[Aggregate] = frozenset({"count", "sum", "mean", "ratio", "last", "since"})  # bear a value taken out


@dataclass(frozen=True, slots=True)
class Program:
    """One window on its stream: the index of its value among the stream's columns (None: it counts events), its spans,
    delay (0 where rows are labels) and resolution in microseconds, what a spike is to it (ratio, baseline in
    microseconds), and where its features go among all of them."""

    column: int | None
    spans: tuple[int, ...]
    delay: int
    resolution: int
    spike: float
    baseline: int
    aggregates: tuple[Aggregate, ...]
    position: int


@dataclass(frozen=True)
class Stream:
    """The rows kept for an entity: `columns` are the values of a row, `by_arrival` says that rows are labels.

    `reach_us` is how long a row can matter. With `resolution_us`, rows older than a moment are summed per step of
    arrival (at + `delay_us`), and per value of the `split` columns: those whose distinct values are counted, and a label
    that is corrected later where its sums alone do not tell what is left.
    """

    number: int
    entities: tuple[str, ...]
    columns: tuple[str, ...]
    by_arrival: bool
    text_keys: bool
    label: int | None
    reach_us: int
    resolution_us: int
    delay_us: int
    split: tuple[int, ...]
    programs: tuple[Program, ...]


class Seen(NamedTuple):
    """An event as the store reads it: `entities` and `values` are per stream, a null entity is None; `inputs` are those of
    the definition."""

    id: int | str
    time: int
    entities: tuple[str | None, ...]
    values: tuple[tuple[float, ...], ...]
    inputs: tuple[float | str | None, ...]


class Plan:
    """How a definition is kept online. `digest` names what is stored: two definitions that keep the same rows share it,
    unless one has a `space` (letters and digits) to itself."""

    def __init__(self, definition: FeatureDefinition, *, space: str = "") -> None:
        self.definition = definition
        self.streams = _streams(definition)
        self.width = sum(len(window.names()) for window in definition.windows)
        self.labelled = tuple(s for s in self.streams if s.label is not None)
        self.digest = _digest(definition) + space
        self.text_keys = definition.data.column(definition.data.key).type == "string"
        self._key = key_reader(definition.data)
        self._calendar = lru_cache(maxsize=65_536)(self._calendar_of_minute)
        self._groups = tuple(dict.fromkeys(stream.entities for stream in self.streams))
        self._place = tuple(self._groups.index(stream.entities) for stream in self.streams)
        self._entities = tuple(tuple((n, entity_reader(definition.data, n)) for n in g) for g in self._groups)
        self._inputs = tuple((name, input_reader(definition.data, name)) for name in definition.inputs)
        self._values = tuple(tuple((n, value_reader(definition.data, n)) for n in s.columns) for s in self.streams)

    @property
    def reach_us(self) -> int:
        """How long a row can matter to any window, microseconds."""
        return max((stream.reach_us for stream in self.streams), default=0)

    @property
    def memory_us(self) -> int:
        """How long after its time an event id is remembered, for retries and for its label."""
        waits = LABEL_WAIT_US if any(stream.by_arrival for stream in self.streams) else 0
        return max(self.reach_us, waits) + LATENESS_US

    def key(self, value: Any) -> int | str:
        """An event id in the type of the key column; DataError where it is not one."""
        return self._key(value)

    def read(self, event: Mapping[str, Any]) -> Seen:
        """The event in the store's terms; DataError where its key, time, entities or values cannot be read."""
        data = self.definition.data
        key, time = self._key(event.get(data.key)), instant(event.get(data.time), data.time)
        groups = [entity_text(event, readers) for readers in self._entities]
        values = tuple([tuple([read(event.get(name)) for name, read in columns]) for columns in self._values])
        inputs = tuple([read(event.get(name)) for name, read in self._inputs])
        return Seen(key, time, tuple([groups[place] for place in self._place]), values, inputs)

    def features(self, read: Sequence[Seen], answers: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
        """Inputs, calendar parts and window features by name, for events and the window features computed of them."""
        names = (*self.definition.inputs, *self.definition.computed)
        return [
            dict(zip(names, (*seen.inputs, *self._calendar(seen.time // _MINUTE_US), *answer), strict=True))
            for seen, answer in zip(read, answers, strict=True)
        ]

    def _calendar_of_minute(self, minute: int) -> tuple[float, ...]:
        # No part of a calendar changes within a minute, and many events fall into each.
        definition, times = self.definition, np.array([minute * _MINUTE_US], np.int64)
        return tuple(calendar_columns(definition.calendar, times, definition.data.timezone)[0].tolist())


def _streams(definition: FeatureDefinition) -> tuple[Stream, ...]:
    groups: dict[tuple, list[tuple[Window, int]]] = {}
    position = 0
    for window in definition.windows:
        by_arrival, resolution = definition.arrival(window) is not None, window.resolution_us
        delay = window.delay_us if resolution and not by_arrival else 0
        groups.setdefault((window.entities, by_arrival, resolution, delay), []).append((window, position))
        position += len(window.names())
    return tuple(_stream(definition, i, group, members) for i, (group, members) in enumerate(groups.items()))


def _stream(definition: FeatureDefinition, number: int, group: tuple, members: list[tuple[Window, int]]) -> Stream:
    entities, by_arrival, resolution, delay = group
    columns = tuple(sorted({w.value for w, _ in members if w.value is not None}))
    label = definition.data.label
    return Stream(
        number=number,
        entities=entities,
        columns=columns,
        by_arrival=by_arrival,
        text_keys=definition.data.column(definition.data.key).type == "string",
        label=columns.index(label) if label in columns else None,
        reach_us=max(w.reach_us - (w.delay_us if by_arrival else 0) for w, _ in members),
        resolution_us=resolution,
        delay_us=delay,
        split=_split([window for window, _ in members], columns, label) if resolution else (),
        programs=tuple(_program(window, columns, place, by_arrival) for window, place in members),
    )


def _split(windows: Sequence[Window], columns: tuple[str, ...], label: str) -> tuple[int, ...]:
    found = {window.value for window in windows if "distinct" in window.aggregates}
    needs_values = any(window.value == label and not ADDITIVE >= set(window.aggregates) for window in windows)
    if label in columns and (found or needs_values):
        found.add(label)  # whatever else splits: so that a label is found again by its value
    return tuple(place for place, name in enumerate(columns) if name in found)


def _program(window: Window, columns: tuple[str, ...], position: int, by_arrival: bool) -> Program:
    column = None if window.value is None else columns.index(window.value)
    delay = 0 if by_arrival else window.delay_us
    return Program(
        column=column,
        spans=window.spans_us,
        delay=delay,
        resolution=window.resolution_us,
        spike=window.spike,
        baseline=window.baseline_us,
        aggregates=window.aggregates,
        position=position,
    )


def _digest(definition: FeatureDefinition) -> str:
    data = definition.data
    kinds = [(name, data.column(name).type) for name in definition.needed]
    kept = [window.model_dump_json(exclude={"prefix"}) for window in definition.windows]
    described = repr((data.key, data.time, data.label, data.label_time, sorted(kinds), kept))
    return hashlib.blake2b(described.encode(), digest_size=6).hexdigest()
