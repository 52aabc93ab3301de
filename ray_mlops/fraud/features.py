"""One feature definition for batch and online: which columns, which windows, and what was learnt from train rows."""

import difflib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from ray_mlops.contract import Frozen, Schema
from ray_mlops.errors import ConfigError
from ray_mlops.fraud.encoding import (
    CalendarPart,
    calendar_columns,
    encode_numbers,
    encode_string,
    encode_strings,
    integer_time,
    integer_times,
    learn,
)
from ray_mlops.fraud.rolling import DOUBLE, Output, roll
from ray_mlops.fraud.split import Split
from ray_mlops.fraud.windows import COMPARED, Window
from ray_mlops.platform.cores import cores

__all__ = ["FeatureDefinition", "FeaturesConfig", "Split", "Window"]


class FeaturesConfig(Frozen):
    """Which features, and the split. A table of at most `in_process_rows` is computed without Ray: below some two
    million rows the start of Ray's tasks and its shuffles take longer than the whole computation."""

    inputs: tuple[str, ...] = ()
    calendar: tuple[CalendarPart, ...] = ()
    windows: tuple[Window, ...] = ()
    split: Split = Split()
    in_process_rows: int = Field(default=2_000_000, ge=0)


class FeatureDefinition(Frozen):
    """The features of an event: raw `inputs`, `calendar` parts of its time, and `windows` over its entities.

    `vocabulary` (one-hot values) and `frequencies` (train shares of columns with more values) hold what `fitted` learnt
    of the string inputs. The JSON of this value is all that the online path needs to compute the same numbers.
    """

    data: Schema
    inputs: tuple[str, ...] = ()
    calendar: tuple[CalendarPart, ...] = ()
    windows: tuple[Window, ...] = ()
    vocabulary: Mapping[str, tuple[str, ...]] = {}
    frequencies: Mapping[str, Mapping[str, float]] = {}

    @classmethod
    def of(cls, config: FeaturesConfig, data: Schema) -> "FeatureDefinition":
        """The definition that a config means for a table; ConfigError where it names what cannot be used."""
        definition = cls(data=data, inputs=config.inputs, calendar=config.calendar, windows=config.windows)
        definition.check()
        return definition

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The model inputs, in order: inputs, calendar, windows."""
        return (*(name for column in self.inputs for name in self._input_names(column)), *self.computed)

    @cached_property
    def computed(self) -> tuple[str, ...]:
        """The columns which `compute` adds: calendar parts and windows."""
        return (*self.calendar, *(name for window in self.windows for name in window.names()))

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The columns of the raw table that `compute` and `encode` read, in the order of the schema."""
        known_at = {self.arrival(window) for window in self.windows}
        used = {self.data.key, self.data.time, *self.asked, *known_at, *(window.value for window in self.windows)}
        return tuple(name for name in self.data.names if name in used)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The columns that an event must bring when it is scored: `needed` without the label and its time."""
        used = {self.data.key, self.data.time, *self.inputs}
        for window in self.windows:
            used |= {*window.entities, window.value}
        return tuple(name for name in self.data.names if name in used - {self.data.label, self.data.label_time})

    @property
    def entities(self) -> tuple[tuple[str, ...], ...]:
        """The distinct entities of the windows, each one or several columns."""
        return tuple(dict.fromkeys(window.entities for window in self.windows))

    def windows_of(self, entities: tuple[str, ...]) -> tuple[Window, ...]:
        return tuple(window for window in self.windows if window.entities == entities)

    @cached_property
    def reach_us(self) -> int | None:
        """How far before an event its windows look, microseconds; None where a label may become known any time later."""
        if any(self.arrival(window) for window in self.windows):
            return None
        return max((window.reach_us for window in self.windows), default=0)

    def arrival(self, window: Window) -> str | None:
        """The column that says when the values of a window became known: the label's, where the data have one."""
        return self.data.label_time if window.value == self.data.label else None

    def compute(self, table: pa.Table) -> pa.Table:
        """The rows of a table (with `needed` columns), in their order, with the `computed` columns added (float64)."""
        return self.add_windows(self.add_calendar(table), self.windows, threads=cores())

    def add_calendar(self, table: pa.Table) -> pa.Table:
        columns = calendar_columns(self.calendar, integer_times(table[self.data.time]), self.data.timezone)
        for name, column in zip(self.calendar, columns.T, strict=True):
            table = table.append_column(name, pa.array(column))
        return table

    def add_windows(
        self, table: pa.Table, windows: Sequence[Window], *, threads: int = 1, output: Output = DOUBLE
    ) -> pa.Table:
        """The table, or the rows wanted of it, with the columns of some windows added; all events of an entity must be
        in it."""
        data = self.data
        roles = {"key": data.key, "time": data.time, "arrival": self.arrival}
        columns = roll(windows, table, **roles, threads=threads, output=output)
        table = output.rows(table)
        for name in (name for window in windows for name in window.names()):
            table = table.append_column(name, pa.array(columns[name]))
        return table

    def fitted(self, train: pa.Table) -> "FeatureDefinition":
        """This definition with the values of its string inputs as the train rows have them."""
        vocabulary, frequencies = {}, {}
        for column in self.strings:
            values, shares = learn(train[column])
            if shares:
                frequencies[column] = shares
            else:
                vocabulary[column] = values
        return FeatureDefinition(
            data=self.data,
            inputs=self.inputs,
            calendar=self.calendar,
            windows=self.windows,
            vocabulary=vocabulary,
            frequencies=frequencies,
        )

    @cached_property
    def strings(self) -> tuple[str, ...]:
        """The inputs that are strings and must be learnt."""
        return tuple(column for column in self.inputs if self.data.column(column).type == "string")

    def encode(self, table: pa.Table) -> np.ndarray:
        """What the model reads of computed rows: float32 `(rows, len(names))`, null as NaN."""
        matrix = np.empty((table.num_rows, len(self.names)), np.float32)
        place = 0
        for column in (*self.inputs, *self.computed):
            width = len(self._input_names(column)) if column in self.inputs else 1
            block = self._encode_strings(table[column], column) if column in self.strings else None
            matrix[:, place : place + width] = encode_numbers(table[column])[:, None] if block is None else block
            place += width
        return matrix

    def vector(self, event: Mapping[str, Any], windows: Mapping[str, float]) -> np.ndarray:
        """`encode` for one event, given its raw fields and its window features by name: float32 `(len(names),)`."""
        values: list[Any] = []
        for column in self.inputs:
            if column in self.strings:
                shares = self.frequencies.get(column, {})
                values.extend(encode_string(event.get(column), self.vocabulary.get(column, ()), shares))
            else:
                values.append(event.get(column))  # numpy makes None NaN
        if self.calendar:
            time = np.array([integer_time(event[self.data.time])], np.int64)
            values.extend(calendar_columns(self.calendar, time, self.data.timezone)[0])
        values += [windows[name] for name in self.computed[len(self.calendar) :]]
        return np.array(values, np.float32)

    def _encode_strings(self, column: pa.ChunkedArray, name: str) -> np.ndarray:
        return encode_strings(column, self.vocabulary.get(name, ()), self.frequencies.get(name, {}))

    def _input_names(self, column: str) -> tuple[str, ...]:
        if column not in self.strings:
            return (column,)
        assert column in self.vocabulary or column in self.frequencies, f"{column}: the definition is not fitted yet"
        if column in self.frequencies:
            return (f"{column}_frequency",)
        return tuple(f"{column}={value}" for value in self.vocabulary[column])

    def check(self) -> None:
        """ConfigError where an input or a window names what cannot be used, or two features have one name."""
        for column in self.inputs:
            self._check_input(column)
        for window in self.windows:
            self._check_window(window)
        names = [*self.inputs, *self.computed]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"features: {', '.join(twice)} would be made twice; drop one or give its window a prefix")
        if taken := [name for name in self.computed if name in self.data.names]:
            raise ConfigError(f"features: {', '.join(taken)} is a column of the data; give its window a prefix")

    def _check_input(self, column: str) -> None:
        self._find(column, "input")
        if column in (self.data.label, self.data.label_time):
            raise ConfigError(f"features: input {column!r} is the answer (label or its time); take it out of `inputs`")
        if column in (self.data.key, self.data.time) or self.data.column(column).type == "timestamp":
            raise ConfigError(f"features: input {column!r} identifies or dates the event; use `calendar` for its time")

    def _check_window(self, window: Window) -> None:
        for entity in window.entities:
            self._find(entity, "window entity")
        if window.value is None:
            return
        self._find(window.value, "window value")
        if self.data.column(window.value).type in ("string", "timestamp") and set(window.aggregates) - COUNTING:
            raise ConfigError(
                f"features: the values of {window.value!r} cannot be added or compared; a window of it may use "
                f"{', '.join(sorted(COUNTING))} only"
            )
        if window.value != self.data.label:
            return
        if reading := sorted(COMPARED & set(window.aggregates)):
            raise ConfigError(
                f"features: the {reading[0]} of {window.value!r} reads the label of the event itself; drop it"
            )
        if not window.delay and self.data.label_time is None:
            raise ConfigError(
                f"features: a window of the label {window.value!r} needs a `delay` (the days until labels are known) or "
                "a `label_time` column in the data; without one it would give the answer away"
            )

    def _find(self, column: str, what: str) -> None:
        if column not in self.data.names:
            near = difflib.get_close_matches(column, self.data.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"legal names: {', '.join(self.data.names)}"
            raise ConfigError(f"features: {what} {column!r} is not a column of the data; {hint}")


COUNTING = frozenset({"count", "distinct", "since"})
