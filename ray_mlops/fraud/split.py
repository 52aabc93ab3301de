"""Train, validation and test in event time, with the label delay between train and what is scored on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pydantic import AfterValidator, Field

from ray_mlops.contract import Frozen, Interval
from ray_mlops.errors import ConfigError
from ray_mlops.fraud.encoding import integer_times
from ray_mlops.fraud.windows import DAY_US, NEVER

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

PARTS = ("train", "validation", "test")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Utc = Annotated[datetime, AfterValidator(lambda at: at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC))]


class Split(Frozen):
    """train | label delay | validation | test, back from `end`; all lengths in days.

    `end` is where test ends (default: midnight after the last event). Train ends `delay_days` before validation and
    validation ends where test starts, unless `train_end` or `validation_end` say otherwise; validation may come before
    train. `remove_known` drops from each validation and test day the cards whose fraud was known by then; frauds older
    than `known_days` before the delay (default: than train) do not count. A time without a zone is UTC.
    """

    train_days: float = Field(default=28.0, gt=0)
    delay_days: float = Field(default=7.0, ge=0)
    validation_days: float = Field(default=7.0, gt=0)
    test_days: float = Field(default=7.0, gt=0)
    end: Utc | None = None
    train_end: Utc | None = None
    validation_end: Utc | None = None
    remove_known: bool = True
    known_days: float | None = Field(default=None, gt=0)

    def intervals(self, first: datetime, last: datetime) -> dict[str, Interval]:
        """The three parts over data whose events span `[first, last]`.

        Raises ConfigError when the data are too short for them or when explicit ends make them overlap.
        """
        end = self.end or midnight_after(last)
        test = Interval(start=end - timedelta(days=self.test_days), end=end)
        validation = _ending(self.validation_end or test.start, self.validation_days)
        train = _ending(self.train_end or validation.start - timedelta(days=self.delay_days), self.train_days)
        parts = {"train": train, "validation": validation, "test": test}
        self._check_order(parts)
        self._check_length(parts, first, last)
        return parts

    def known_from(self, part: Interval, train: Interval) -> datetime:
        """Frauds from here on make a card known in `part`: those that a model trained for it would have seen."""
        if self.known_days is not None:
            return part.start - timedelta(days=self.delay_days + self.known_days)
        return min(train.start, part.start - timedelta(days=self.delay_days + self.train_days))

    def _check_order(self, parts: Mapping[str, Interval]) -> None:
        train, delay = parts["train"], timedelta(days=self.delay_days)
        for name in ("validation", "test"):
            part = parts[name]
            if part.end > train.start and part.start < train.end + delay:
                raise ConfigError(
                    f"split: {name} ({_show(part)}) overlaps train ({_show(train)}) and the {self.delay_days:g} days "
                    "its labels take; move train_end, validation_end or end"
                )
        if parts["validation"].end > parts["test"].start and parts["validation"].start < parts["test"].end:
            raise ConfigError(
                f"split: validation ({_show(parts['validation'])}) overlaps test ({_show(parts['test'])}); "
                "move validation_end or end"
            )

    def _check_length(self, parts: Mapping[str, Interval], first: datetime, last: datetime) -> None:
        start, end = min(part.start for part in parts.values()), max(part.end for part in parts.values())
        day = timedelta(days=1)
        if start < midnight_after(first) - day or end > midnight_after(last):
            have, need = (midnight_after(last) - midnight_after(first)) / day + 1, (end - start) / day
            raise ConfigError(
                f"split: the data have {have:g} days ({first:%Y-%m-%d} to {last:%Y-%m-%d}) and the split needs {need:g} "
                f"({start:%Y-%m-%d} to {end - timedelta(microseconds=1):%Y-%m-%d}: {self.train_days:g} train, "
                f"{self.delay_days:g} delay, {self.validation_days:g} validation, {self.test_days:g} test); "
                "bring more data or lower these numbers of days"
            )


def midnight_after(at: datetime) -> datetime:
    """The first midnight (UTC) after an instant."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def microseconds(at: datetime) -> int:
    """Integer microseconds since the epoch."""
    return (at - EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Assignment:
    """Which part each event belongs to, over a table with columns `time`, `label` and, where cards that are known to be
    compromised leave validation and test, `card`. `known[part]` says from when on each of `cards` is known there."""

    intervals: Mapping[str, Interval]
    time: str
    label: str
    card: str | None = None
    cards: pa.Array = field(default_factory=lambda: pa.array([]))
    known: Mapping[str, np.ndarray] = field(default_factory=dict)

    def parts(self, table: pa.Table) -> np.ndarray:
        """The index into `PARTS` of each row, int8; -1 for rows outside all parts, without a label, or removed."""
        times = integer_times(table[self.time])
        parts = np.full(len(times), -1, np.int8)
        for index, name in enumerate(PARTS):
            interval = self.intervals[name]
            parts[(times >= microseconds(interval.start)) & (times < microseconds(interval.end))] = index
        parts[table[self.label].is_null().to_numpy()] = -1
        if self.card is not None and len(self.cards):
            index = pc.index_in(table[self.card], value_set=self.cards).fill_null(-1).to_numpy()
            for name, known in self.known.items():
                since = np.append(known, NEVER)[index]
                parts[(parts == PARTS.index(name)) & _by_then(times, since, self.intervals[name])] = -1
        return parts


def known_cards(frauds: pa.Table, split: Split, assignment: Assignment, label_time: str | None) -> Assignment:
    """The assignment with the cards of past frauds removed. A fraud is known `delay_days` after it happened, or at its
    `label_time` where there is one; `frauds` has columns `time`, `card` and `label_time`."""
    assert assignment.card is not None
    times = integer_times(frauds[assignment.time])
    known_at = times + round(split.delay_days * DAY_US)
    if label_time is not None:
        known_at = integer_times(frauds[label_time].fill_null(datetime.max.replace(tzinfo=UTC)))
    cards = frauds[assignment.card].combine_chunks().dictionary_encode()
    codes = cards.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    known = {}
    for name in ("validation", "test"):
        since = microseconds(split.known_from(assignment.intervals[name], assignment.intervals["train"]))
        counted = (times >= since) & (codes >= 0)
        earliest = np.full(len(cards.dictionary), NEVER)
        np.minimum.at(earliest, codes[counted], known_at[counted])
        known[name] = earliest
    return replace(assignment, cards=cards.dictionary, known=known)


def _by_then(times: np.ndarray, known: np.ndarray, part: Interval) -> np.ndarray:
    """Whether something was known (strictly) before the day of each event began; days count from where the part starts."""
    start = microseconds(part.start)
    return known < start + (times - start) // DAY_US * DAY_US


def _ending(end: datetime, days: float) -> Interval:
    return Interval(start=end - timedelta(days=days), end=end)


def _show(interval: Interval) -> str:
    return f"{interval.start:%Y-%m-%d %H:%M} to {interval.end:%Y-%m-%d %H:%M}"
