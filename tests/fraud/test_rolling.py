"""All windows of a table at once: what the caller may choose changes no feature but in its last digits."""

import numpy as np
import pyarrow as pa

from ray_mlops.fraud.rolling import Precision, roll
from ray_mlops.fraud.windows import Window

WINDOWS = (
    Window(entity="card", value="amount", spans=(1, 7), aggregates=("count", "mean", "std", "last")),
    Window(entity="shop", value="amount", spans=(3,), aggregates=("sum", "max"), delay=1),
)


def features(rows: int, *, threads: int = 1, precision: Precision = np.float64) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shops = rng.integers(0, 40, rows).tolist()
    table = pa.table(
        {
            "id": rng.permutation(rows),
            "time": pa.array(rng.integers(0, 20 * 86_400_000_000, rows)).cast(pa.timestamp("us", tz="UTC")),
            "card": rng.integers(0, 90, rows),
            "shop": pa.array([shop or None for shop in shops], pa.int64()),
            "amount": np.round(rng.gamma(2, 25, rows), 2),
        }
    )
    options = {"threads": threads, "precision": precision}
    return roll(WINDOWS, table, key="id", time="time", arrival=lambda _: None, **options)


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
