"""Slices of time: what they hold, and when they are worth it."""

import numpy as np
import pytest

from ray_mlops.platform.time_slices import HISTORY, HISTORY_MEMORY, Histogram, Room, TimeSlice, plan_slices

DAY = 86_400_000_000
PLENTY = 1 << 40


def uneven(days: int = 180, rows: int = 40_000) -> np.ndarray:
    """Times that come twice as often at the end as in the middle, and not at all before a late start."""
    return (np.sqrt(np.random.default_rng(0).random(rows)) * days * DAY).astype(np.int64)


def planned(
    times: np.ndarray, *, start: int = 0, reach: int = 20 * DAY, workers: int = 2, rows: int = PLENTY, shuffles: int = 2
) -> list[TimeSlice]:
    histogram = Histogram.of(np.array_split(times, 3), start - reach, 180 * DAY)
    return plan_slices(histogram, start, reach, Room(workers, rows), shuffles=shuffles)


def work(times: np.ndarray, one: TimeSlice, history_is: float = HISTORY) -> float:
    history, rows = (
        np.count_nonzero((times >= start) & (times < end))
        for start, end in ((one.since, one.start), (one.start, one.end))
    )
    return float(rows + history_is * history)


@pytest.mark.parametrize("start", [0, 40 * DAY + 12_345])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_each_row_from_the_start_on_is_in_one_slice(start: int, workers: int) -> None:
    slices = planned(uneven(), start=start, workers=workers)
    assert slices[0].start == start and slices[-1].end >= 180 * DAY
    assert [one.end for one in slices[:-1]] == [one.start for one in slices[1:]]
    assert all(one.start - one.since == 20 * DAY for one in slices)


def test_the_workers_have_about_the_same_to_do() -> None:
    times = uneven()
    first, second = (work(times, one) for one in planned(times))
    assert first == pytest.approx(second, rel=0.02)


def test_no_slice_is_larger_than_the_memory_of_a_worker() -> None:
    times = uneven()
    roomy, tight = planned(times), planned(times, rows=15_000)
    assert len(roomy) == 2 < len(tight)
    most = [max(work(times, one, HISTORY_MEMORY) for one in slices) for slices in (tight, roomy)]
    assert most[0] <= 15_000 < most[1]


@pytest.mark.parametrize(
    "circumstances",
    [{"reach": 170 * DAY, "workers": 16}, {"rows": 5_000}, {"workers": 64}, {"shuffles": 0}],
    ids=["long history", "little memory", "many workers", "nothing to shuffle"],
)
def test_slices_that_cost_more_than_the_exchange_are_not_made(circumstances: dict[str, int]) -> None:
    assert planned(uneven(), **circumstances) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_one_slice_is_one_way(workers: int) -> None:
    assert len(planned(np.full(1_000, 90 * DAY), workers=workers)) == 1
    assert len(planned(uneven(), workers=1)) == 1


def test_rows_of_one_instant_stay_together() -> None:
    times = np.repeat(np.arange(0, 180 * DAY, 45 * DAY), 1_000)
    slices = planned(times, reach=DAY)
    assert slices and sum(work(times, TimeSlice(one.start, one.start, one.end)) for one in slices) == len(times)
    assert planned(np.full(1_000, 90 * DAY), rows=900) == []


def test_rows_outside_are_not_counted() -> None:
    histogram = Histogram.of([np.array([-1, 0, 5, 9, 10])], 0, 10)
    assert (sum(histogram.counts), histogram.step) == (3, 1)
