"""Events whose label follows a rule that a test plants, so that the right answer is known beforehand."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from ray_mlops.contract import Column, Run, Schema, Table
from ray_mlops.fraud.features import FeaturesConfig, Split, Window
from ray_mlops.platform import tables

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 50
EVENTS = Schema(
    columns=(
        Column(name="id", type="int64"),
        Column(name="time", type="timestamp"),
        Column(name="card", type="int64"),
        Column(name="shop", type="int64"),
        Column(name="amount", type="float64"),
        Column(name="distance", type="float64"),
        Column(name="speed", type="float64"),
        Column(name="channel", type="string", domain=("chip", "online", "phone")),
        Column(name="fraud", type="int64"),
    ),
    key="id",
    time="time",
    label="fraud",
    amount="amount",
    entities=("card", "shop"),
)
WINDOWS = (
    Window(entity="card", value="amount", spans=(1, 7), aggregates=("count", "mean")),
    Window(entity="shop", value="fraud", spans=(7,), aggregates=("mean",), delay=3),
)
FEATURES = FeaturesConfig(
    inputs=("amount", "distance", "speed", "channel"),
    calendar=("night",),
    windows=WINDOWS,
    split=Split(train_days=21, delay_days=3, validation_days=8, test_days=8, remove_known=False),
)

Chance = Callable[[dict[str, np.ndarray]], np.ndarray]  # the probability of fraud of each event, from its columns


def events(chance: Chance, rows: int = 20_000, seed: int = 0) -> pa.Table:
    """`rows` events over 50 days, shuffled; `fraud` happens with the planted probability."""
    random = np.random.default_rng(seed)
    columns = {
        "id": random.permutation(rows),
        "card": random.integers(0, max(rows // 50, 1), rows),
        "shop": random.integers(0, 100, rows),
        "amount": np.round(random.gamma(2.0, 30.0, rows), 2),
        "distance": random.exponential(10.0, rows),
        "speed": random.normal(0.0, 1.0, rows),
        "channel": random.choice(["chip", "online", "phone"], rows, p=[0.7, 0.25, 0.05]),
    }
    seconds = int(START.timestamp()) + random.integers(0, DAYS * 86_400, rows)
    fraud = (random.random(rows) < chance(columns)).astype(np.int64)
    time = pa.array(seconds * 1_000_000, pa.timestamp("us", "UTC"))
    return pa.table({**columns, "time": time, "fraud": fraud}).select(EVENTS.names)


def by_one_rule(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Fraud is what a person would say: a large amount."""
    return np.where(columns["amount"] >= 200, 0.9, 0.0005)


def by_many_causes(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Fraud adds up from several causes, none of which says much by itself."""
    odds = columns["amount"] / 60 + columns["distance"] / 10 + 1.2 * columns["speed"] + (columns["channel"] == "online")
    return 1 / (1 + np.exp(-2.0 * (odds - 6.0)))


def by_chance(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Fraud has nothing to do with anything."""
    return np.full(len(columns["id"]), 0.03)


def a_run(root: Path, name: str, seed: int = 0) -> Run:
    """The run of one stage below `root`."""
    return Run(root=str(root), id="run", recipe="test", seed=seed, uri=str(root / "runs" / name), fingerprint=name)


def clean_table(rows: pa.Table, root: Path, data: Schema = EVENTS) -> Table:
    """The events as the table that `clean` would have left."""
    return tables.write_arrow(rows, "test.clean", a_run(root, "clean"), data=data)
