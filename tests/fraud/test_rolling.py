"""All windows of a table at once: what the caller may choose changes no feature but in its last digits."""

from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from ray_mlops.fraud.rolling import Output, Precision, roll
from ray_mlops.fraud.windows import ORDERED, Aggregate, Window

WINDOWS = (
    Window(entity="card", value="amount", spans=(1, 7), aggregates=("count", "mean", "std", "last")),
    Window(entity="shop", value="amount", spans=(3,), aggregates=("sum", "max"), delay=1),
)


ALL: tuple[Aggregate, ...] = get_args(Aggregate)
DAY_US = 86_400_000_000
ROLES: dict[str, Any] = {"key": "id", "time": "time", "arrival": lambda _: None}


def features(rows: int, *, threads: int = 1, precision: Precision = np.float64) -> dict[str, np.ndarray]:
    options = {"threads": threads, "output": Output(precision)}
    return roll(WINDOWS, events(rows), **ROLES, **options)


def events(rows: int) -> pa.Table:
    rng = np.random.default_rng(3)
    shops = rng.integers(0, 40, rows).tolist()
    return pa.table(
        {
            "id": rng.permutation(rows),
            "time": pa.array(rng.integers(0, 20 * 86_400_000_000, rows)).cast(pa.timestamp("us", tz="UTC")),
            "card": rng.integers(0, 90, rows),
            "shop": pa.array([shop or None for shop in shops], pa.int64()),
            "amount": np.round(rng.gamma(2, 25, rows), 2),
        }
    )


def test_single_precision_is_double_precision_rounded_once() -> None:
    double, single = features(5_000), features(5_000, precision=np.float32)
    assert list(single) == [name for window in WINDOWS for name in window.names()]
    for name, column in single.items():
        assert column.dtype == np.float32
        np.testing.assert_array_equal(column, double[name].astype(np.float32))
    assert np.isnan(single["shop_sum_amount_3d"]).any(), "rows without a shop have no windows of it"


def test_threads_change_no_bit() -> None:
    one, four = features(80_000), features(80_000, threads=4)
    for name, column in one.items():
        np.testing.assert_array_equal(column, four[name])


@pytest.mark.parametrize("delay", [0.0, 1.5])
@pytest.mark.parametrize("resolution", [0.0, 3600.0])
def test_events_before_the_reach_change_no_bit(delay: float, resolution: float) -> None:
    """Slices of time start their sums anew, each with its own first event."""
    table = events(20_000)
    times = table["time"].cast(pa.int64()).to_numpy() // DAY_US * DAY_US  # by the day: ties at each border
    table = table.set_column(1, "time", pa.array(times).cast(pa.timestamp("us", tz="UTC")))
    aggregates = tuple(one for one in ALL if not resolution or one not in ORDERED)
    options = {"aggregates": aggregates, "delay": delay, "resolution": resolution, "baseline": 2}
    windows = [Window(entity=entity, value="amount", spans=(1, 3), **options) for entity in ("card", ("card", "shop"))]
    reach = max(window.reach_us for window in windows)
    whole = roll(windows, table, **ROLES)
    for start, end in ((9 * DAY_US, 14 * DAY_US), (14 * DAY_US, 20 * DAY_US)):
        seen = (times >= start - reach) & (times < end)
        wanted = Output(wanted=times[seen] >= start)
        part = roll(windows, table.filter(pa.array(seen)), **ROLES, output=wanted)
        for name, column in whole.items():
            np.testing.assert_array_equal(part[name], column[(times >= start) & (times < end)], err_msg=name)


@pytest.mark.parametrize("rows", [0, 1, 300])
@pytest.mark.parametrize("which", ["none", "all", "last", "some"])
def test_the_rows_wanted_come_out_and_no_others(rows: int, which: str) -> None:
    table, places = events(rows), np.arange(rows)
    wanted = {"none": places < 0, "all": places >= 0, "last": places >= rows // 2, "some": places % 3 == 1}[which]
    every, found = features(rows), roll(WINDOWS, table, **ROLES, output=Output(wanted=wanted))
    for name, column in every.items():
        np.testing.assert_array_equal(found[name], column[wanted])
    assert Output(wanted=wanted).rows(table).equals(table.filter(pa.array(wanted)))
