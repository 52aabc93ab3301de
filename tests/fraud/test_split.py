"""Train, validation and test never overlap, and labels have the time they take."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ray_mlops.errors import ConfigError
from ray_mlops.fraud.split import PARTS, Assignment, Split, known_cards

DAY = timedelta(days=1)
FIRST = datetime(2024, 1, 1, 3, tzinfo=UTC)
LAST = datetime(2024, 4, 9, 22, tzinfo=UTC)

days = st.integers(1, 40)


@given(days, st.integers(0, 20), days, days)
def test_the_parts_follow_one_another(train: int, delay: int, validation: int, test: int) -> None:
    split = Split(train_days=train, delay_days=delay, validation_days=validation, test_days=test)
    assume(train + delay + validation + test <= 100)
    parts = split.intervals(FIRST, LAST)
    assert parts["test"].end == datetime(2024, 4, 10, tzinfo=UTC)
    assert parts["validation"].end == parts["test"].start == parts["test"].end - test * DAY
    assert parts["train"].end + delay * DAY == parts["validation"].start
    assert parts["train"].end - parts["train"].start == train * DAY


@given(days, st.integers(0, 20), days, days)
def test_data_that_are_too_short_are_said_to_be(train: int, delay: int, validation: int, test: int) -> None:
    split = Split(train_days=train, delay_days=delay, validation_days=validation, test_days=test)
    needed = train + delay + validation + test
    assume(needed > 1)
    have = needed - 1
    with pytest.raises(ConfigError, match=f"have {have} days .* needs {needed} "):
        split.intervals(FIRST, FIRST + (have - 1) * DAY)


def test_explicit_ends_may_put_validation_before_train() -> None:
    ends = {"train_end": datetime(2024, 2, 20), "validation_end": datetime(2024, 2, 13), "end": datetime(2024, 3, 5)}
    split = Split(train_days=7, **ends)
    parts = split.intervals(FIRST, LAST)
    assert parts["validation"].end == parts["train"].start
    assert parts["test"].start == parts["train"].end + 7 * DAY
    assert split.known_from(parts["test"], parts["train"]) == parts["train"].start
    assert split.known_from(parts["validation"], parts["train"]) == parts["validation"].start - 14 * DAY


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ({"train_end": datetime(2024, 4, 1)}, "validation .* overlaps train .* and the 7 days"),
        ({"train_end": datetime(2024, 3, 2), "validation_end": datetime(2024, 4, 5)}, "validation .* overlaps test"),
        ({"end": datetime(2024, 5, 1)}, "the data have 100 days"),
        ({"train_end": datetime(2023, 12, 1)}, "bring more data"),
    ],
)
def test_ends_that_cannot_be_are_refused(ends: dict[str, datetime], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Split(**ends).intervals(FIRST, LAST)


def events(*rows: tuple[float, str | None, int | None, float | None]) -> pa.Table:
    """Rows of (days after the first of January, card, label, day on which the label became known)."""

    def at(day: float | None) -> datetime | None:
        return None if day is None else datetime(2024, 1, 1, tzinfo=UTC) + day * DAY

    stamp = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "time": pa.array([at(day) for day, *_ in rows], stamp),
            "card": pa.array([card for _, card, *_ in rows], pa.string()),
            "fraud": pa.array([label for _, _, label, _ in rows], pa.int64()),
            "known": pa.array([at(known) for *_, known in rows], stamp),
        }
    )


SPLIT = Split(train_days=5, delay_days=2, validation_days=2, test_days=2, end=datetime(2024, 1, 12))
INTERVALS = SPLIT.intervals(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 11, tzinfo=UTC))


def parts_of(scored: pa.Table, frauds: pa.Table, label_time: str | None = None) -> list[str | None]:
    assignment = known_cards(frauds, SPLIT, Assignment(INTERVALS, "time", "fraud", "card"), label_time)
    return [PARTS[part] if part >= 0 else None for part in assignment.parts(scored)]


def test_each_event_belongs_to_the_part_of_its_time() -> None:
    scored = events(*((day, "a", 0, None) for day in (0, 4.99, 5, 6.99, 7, 8.99, 9, 10.99, 11)), (1, "a", None, None))
    names = [PARTS[part] if part >= 0 else None for part in Assignment(INTERVALS, "time", "fraud").parts(scored)]
    assert names == ["train", "train", None, None, "validation", "validation", "test", "test", None, None]


def test_a_card_leaves_from_the_first_day_that_began_after_its_fraud_was_known() -> None:
    scored = events(*((day, "a", 0, None) for day in (4.5, 7.5, 8.0, 8.5, 9.0, 10.5)), (9.5, "b", 0, None))
    assert parts_of(scored, events((5.5, "a", 1, None))) == ["train", "validation", *[None] * 4, "test"]
    assert parts_of(scored, events((6.0, "a", 1, None)))[:4] == ["train", "validation", "validation", "validation"]
    assert parts_of(scored, events((8.9, "a", 1, None), (9.1, None, 1, None))).count(None) == 0


def test_the_time_of_the_label_counts_where_there_is_one() -> None:
    scored = events(*((day, "a", 0, None) for day in (7.5, 8.5, 9.5, 10.5)))
    late, unknown = events((3.0, "a", 1, 9.2)), events((3.0, "a", 1, None))
    assert parts_of(scored, late, "known") == ["validation", "validation", "test", None]
    assert parts_of(scored, unknown, "known") == ["validation", "validation", "test", "test"]
    assert parts_of(scored, late) == [None] * 4


def test_frauds_of_more_than_the_known_days_ago_do_not_count() -> None:
    split = Split(train_days=60, delay_days=7, validation_days=7, test_days=7, known_days=7)
    parts = split.intervals(FIRST, LAST)
    assert split.known_from(parts["test"], parts["train"]) == parts["test"].start - 14 * DAY


def test_times_without_a_zone_are_utc() -> None:
    berlin = datetime.fromisoformat("2024-01-12T01:00:00+01:00")
    assert Split(end=berlin).end == Split(end=datetime(2024, 1, 12)).end == datetime(2024, 1, 12, tzinfo=UTC)


def test_no_fraud_leaves_everything() -> None:
    frauds = events((3.0, "a", 1, None)).slice(0, 0)
    assert parts_of(events((9.5, "a", 0, None)), frauds) == ["test"]
    assert np.array_equal(Assignment(INTERVALS, "time", "fraud", "card").parts(frauds), np.empty(0, np.int8))
