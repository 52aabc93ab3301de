"""Times of all the usual writings arrive as UTC microseconds."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from ray_mlops.platform.clock import Clock, plain

NOON = datetime(2020, 7, 1, 12, tzinfo=UTC)
MADRID = Clock("Europe/Madrid")


def instants(values: list, clock: Clock, kind: pa.DataType | None = None) -> list[datetime | None]:
    return clock.instants(plain(pa.chunked_array([pa.array(values, kind)]))).to_pylist()


@pytest.mark.parametrize(
    "text",
    [
        "2020-07-01 12:00", "2020-07-01T12:00:00", "2020-07-01T12:00:00Z", "2020-07-01 14:00:00+02:00",
        "2020-07-01T14:00:00+0200", "2020-07-01 14:00:00.000000+02", " 2020-07-01 12:00:00.000000999 ",
    ],
)  # fmt: skip
def test_iso_text_with_and_without_an_offset(text: str) -> None:
    assert instants([text, None], Clock()) == [NOON, None]


def test_naive_text_is_local_and_offsets_win_over_the_zone() -> None:
    assert instants(["2020-07-01 14:00", "2020-07-01 12:00Z", "2020-12-01"], MADRID) == [
        NOON, NOON, datetime(2020, 11, 30, 23, tzinfo=UTC),
    ]  # fmt: skip


def test_the_hour_that_happens_twice_is_its_first_and_the_skipped_one_moves_on() -> None:
    assert instants(["2020-10-25 02:30", "2020-03-29 02:30"], MADRID) == [
        datetime(2020, 10, 25, 0, 30, tzinfo=UTC), datetime(2020, 3, 29, 1, tzinfo=UTC),
    ]  # fmt: skip


def test_typed_times_dates_and_numbers() -> None:
    assert instants([datetime(2020, 7, 1, 14)], MADRID) == [NOON]
    assert instants([NOON], MADRID, pa.timestamp("ns", tz="America/New_York")) == [NOON]
    assert instants([date(2020, 7, 1)], MADRID) == [datetime(2020, 6, 30, 22, tzinfo=UTC)]
    seconds = int(NOON.timestamp())
    assert instants([seconds], Clock(unit="s")) == instants([seconds * 1000], Clock(unit="ms")) == [NOON]
    assert instants([seconds * 1.0, None], Clock(unit="s")) == [NOON, None]
    assert instants([Decimal(seconds)], Clock(unit="s")) == [NOON]


def test_a_format_of_the_source() -> None:
    assert instants(["01/07/2020 14:00"], MADRID._replace(format="%d/%m/%Y %H:%M")) == [NOON]
    assert instants(["01/07/2020 14:00 +0200"], Clock(format="%d/%m/%Y %H:%M %z")) == [NOON]


def test_a_number_needs_its_unit() -> None:
    with pytest.raises(pa.ArrowNotImplementedError, match="time_unit"):
        instants([1_600_000_000], Clock())


@pytest.mark.parametrize(
    ("values", "clock", "count"),
    [
        (["2020-07-01 12:00", "2020-07-01 12:00Z", "2020-07-01 14:00+02:00", None], Clock(), 1),
        (["2020-07-01 12:00", "2020-07-01 12:00Z", "2020-07-01 14:00+02:00", None], MADRID, 2),
        ([datetime(2020, 7, 1)], Clock(), 0),
        ([datetime(2020, 7, 1), None], MADRID, 1),
        ([date(2020, 7, 1)], MADRID, 1),
        ([NOON], MADRID, 0),
        ([1], Clock("Europe/Madrid", unit="s"), 0),
    ],
)
def test_conversions_are_counted(values: list, clock: Clock, count: int) -> None:
    assert clock.conversions(pa.chunked_array([pa.array(values)])) == count
