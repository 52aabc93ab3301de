"""What the simulator's drift knobs do, and what darkened pictures do, is seen within three windows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_mlops.fraud.features import FeatureDefinition, Window
from ray_mlops.fraud.simulate import TRANSACTIONS, Drift, Simulator, simulate
from ray_mlops.monitoring import windows
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.history import History
from ray_mlops.monitoring.judging import Judge, Judging
from ray_mlops.monitoring.sketches import Sketch, baseline_of
from ray_mlops.vision.signals import NAMES as SIGNALS
from ray_mlops.vision.signals import signals

DAY_S, SHIFTED, DAYS = 86_400, 45, 50
DEFINITION = FeatureDefinition(
    data=TRANSACTIONS,
    inputs=("amount",),
    windows=(Window(entity="customer_id", value="amount", spans=(1, 7), aggregates=("count", "mean")),),
)
DIGEST = "d" * 64


def alarmed(known: Baseline, names: tuple[str, ...], parts: list[np.ndarray], folder: Path) -> dict[int, list[str]]:
    """The alarms by window when each part is what a day brought."""
    for day, rows in enumerate(parts):
        sketch = Sketch(known, names)
        scores = np.clip(rows[:, 0] / 500, 0, 1)
        sketch.add(rows, scores.tolist(), ["approve"] * len(rows))
        made = windows.Window(replica="r", start=day * DAY_S, seconds=DAY_S, counts=sketch.counts.tolist())
        windows.write(windows.folder_of(str(folder), DIGEST), made)
    judging = Judging(min_requests=200, window_s=DAY_S)
    judged = Judge(judging, known, History(str(folder), DIGEST)).catch_up(1e12)
    assert len(judged) == len(parts)
    return {one.number - 1: [alarm.key for alarm in one.alarms] for one in judged if one.alarms}


def made(drift: Drift) -> tuple[np.ndarray, np.ndarray]:
    """Feature rows and the day of each; the first ten days fill the windows of the features."""
    simulator = Simulator(customers=500, terminals=1_000, days=DAYS, drift=drift)
    table = pa.concat_tables(simulate(simulator, chunk) for chunk in range(simulator.chunks)).sort_by("time")
    rows = DEFINITION.encode(DEFINITION.compute(table))
    micros = table["time"].cast(pa.int64()).to_numpy()
    return rows, (micros - micros.min()) // (DAY_S * 1_000_000)


@pytest.mark.parametrize(
    ("drift", "seen"),
    [
        (Drift(), ""),
        (Drift(day=SHIFTED, amount_factor=3), "feature amount"),
        (Drift(day=SHIFTED, activity_factor=3), "feature customer_id_count_1d"),
        (Drift(day=SHIFTED, testing_cards=60), "feature amount"),
    ],
)
def test_the_simulators_drift_is_seen_within_three_windows(drift: Drift, seen: str, tmp_path: Path):
    rows, day = made(drift)
    before = rows[(day >= 10) & (day < 30)]
    known = baseline_of(
        DEFINITION.names, before, np.clip(before[:, 0] / 500, 0, 1), decisions=["approve"] * len(before)
    )
    found = alarmed(known, DEFINITION.names, [rows[day == one] for one in range(30, DAYS)], tmp_path)
    first = SHIFTED - 30
    assert not [window for window in found if window < first], found
    if not seen:
        assert not found
    else:
        assert min(found) <= first + 2
        assert any(seen in key for window in range(first, first + 3) for key in found.get(window, []))


def test_darkened_pictures_are_seen_within_three_windows(tmp_path: Path):
    from sklearn.datasets import load_digits

    pictures = (load_digits().images / 16 * 255).astype(np.uint8)[..., None]
    random = np.random.default_rng(0)
    before = signals(pictures)
    known = baseline_of(SIGNALS, before, np.clip(before[:, 0] / 500, 0, 1), decisions=["approve"] * len(before))
    parts = [pictures[random.integers(0, len(pictures), 300)] for _ in range(12)]
    dark = [(part * 0.6).astype(np.uint8) if place >= 8 else part for place, part in enumerate(parts)]
    found = alarmed(known, SIGNALS, [signals(part) for part in dark], tmp_path)
    assert min(found) in (8, 9, 10)
    assert any("brightness" in key for key in found[10])
