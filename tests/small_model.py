"""A small fraud model with all its files, made in a second and without Ray, for tests of what comes after training."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ray_mlops.algorithms import describe
from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.algorithms.worker import LocalWorker
from ray_mlops.contract import (
    Algorithm,
    Column,
    Data,
    Decision,
    Evaluation,
    Features,
    Interval,
    Run,
    Schema,
    Table,
    Trained,
)
from ray_mlops.fraud import predictor
from ray_mlops.fraud.features import FeatureDefinition, Window
from ray_mlops.monitoring.sketches import baseline_of
from ray_mlops.platform import tables
from ray_mlops.platform.bundle import Bundle

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 30
TRANSACTIONS = Schema(
    columns=(
        Column(name="transaction_id", type="int64"),
        Column(name="time", type="timestamp"),
        Column(name="customer_id", type="int64", minimum=0),
        Column(name="terminal_id", type="string", nullable=True),
        Column(name="amount", type="float64", minimum=0, maximum=100_000, description="In euro"),
        Column(name="channel", type="string", domain=("chip", "online")),
        Column(name="note", type="string", nullable=True),
        Column(name="is_fraud", type="int64", domain=(0, 1)),
    ),
    key="transaction_id",
    time="time",
    label="is_fraud",
    amount="amount",
    entities=("customer_id", "terminal_id"),
)
DEFINITION = FeatureDefinition(
    data=TRANSACTIONS,
    inputs=("amount", "channel"),
    calendar=("night",),
    windows=(
        Window(entity="customer_id", value="amount", spans=(1, 7), aggregates=("count", "mean")),
        Window(entity="terminal_id", value="is_fraud", spans=(7,), aggregates=("mean",), delay=7),
    ),
)
CALIBRATION = {"score": (0.0, 1.0), "probability": (0.001, 0.9)}
THRESHOLDS = {"review": 0.3, "block": 0.7}
DETAILS = {"metrics": {"average_precision": {"value": 0.8, "low": 0.7, "high": 0.9}}, "curves": {}}


def transactions(rows: int = 4000, seed: int = 0) -> pa.Table:
    """Transactions of 50 customers at 40 terminals over 30 days; large amounts are fraud."""
    random = np.random.default_rng(seed)
    seconds = np.sort(random.integers(0, DAYS * 86_400, rows))
    amount = np.round(random.gamma(2.0, 25.0, rows), 2)
    fraud = (amount > 150) | (random.random(rows) < 0.003)
    return pa.table(
        {
            "transaction_id": np.arange(rows),
            "time": pa.array([START + timedelta(seconds=int(second)) for second in seconds], pa.timestamp("us", "UTC")),
            "customer_id": random.integers(0, 50, rows),
            "terminal_id": pa.array([f"t{number}" for number in random.integers(0, 40, rows)]),
            "amount": amount,
            "channel": pa.array(np.where(random.random(rows) < 0.5, "chip", "online")),
            "note": pa.nulls(rows, pa.string()),
            "is_fraud": fraud.astype(np.int64),
        }
    )


class Rows:
    """A part of the data in memory."""

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self._features, self._labels = features, labels

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return self._features, self._labels

    def batches(self, size: int, seed: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = (
            np.arange(len(self._labels)) if seed is None else np.random.default_rng(seed).permutation(len(self._labels))
        )
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield self._features[chosen], self._labels[chosen]


def fit(
    folder: str, algorithm: Algorithm, table: pa.Table, definition: FeatureDefinition = DEFINITION
) -> FeatureDefinition:
    """Fit on a table and save the model into a folder; returns the fitted definition."""
    definition = definition.fitted(table)
    features = definition.encode(definition.compute(table))
    labels = table["is_fraud"].to_numpy().astype(np.float32)
    rows = Rows(features, labels)
    algorithm.fit(Data(train=rows, validation=rows, names=definition.names), LocalWorker()).save(folder)
    return definition


def example(table: pa.Table, place: int = -1) -> dict[str, Any]:
    """A row as a caller sends it."""
    row = table.slice(place % table.num_rows, 1).to_pylist()[0]
    sent = {name: value for name, value in row.items() if name != "is_fraud" and value is not None}
    return {**sent, "time": row["time"].isoformat()}


def study(root: Path, algorithm: Algorithm | None = None, **metrics: float) -> dict[str, Any]:
    """What `register` takes, as the stages before it would have left it below `root`; `metrics` are the evaluation's."""
    algorithm, table = algorithm or XGBoost(rounds=10), transactions()
    definition = fit(str(root / "train" / "model"), algorithm, table)
    (root / "definition.json").write_text(definition.model_dump_json())
    run = Run(root=str(root), id="made-by-a-test", recipe="small", uri=str(root), fingerprint="f")
    history = tables.write_arrow(table, "small.clean", run, data=TRANSACTIONS)
    (root / "details.json").write_text(json.dumps(DETAILS))
    return {
        "features": _features(run, history, definition, table),
        "trained": Trained(
            uri=str(root / "train"), fingerprint="f", algorithm=describe(algorithm), metrics={}, workers=1, rows=2000
        ),
        "evaluation": Evaluation(
            uri=str(root), fingerprint="f", details=str(root / "details.json"), report="", calibration=CALIBRATION, thresholds=THRESHOLDS,
            metrics={"average_precision": 0.8, "roc_auc": 0.9, "gain_over_champion": 0.8, **metrics},
        ),
        "decision": Decision(uri=str(root), fingerprint="f", verdict="use_ml", reasons=("it pays",)),
        "algorithm": algorithm,
    }  # fmt: skip


def _features(run: Run, history: Table, definition: FeatureDefinition, table: pa.Table) -> Features:
    half = table.num_rows // 2
    split = pa.array(["train"] * half + ["validation"] * (table.num_rows - half))
    columns = dict(zip(definition.names, definition.encode(definition.compute(table)).T, strict=True))
    made = tables.write_arrow(
        pa.table({"transaction_id": table["transaction_id"], **columns, "split": split}),
        "small.features",
        run,
        data=TRANSACTIONS,
    )
    whole = Interval(start=START, end=START + timedelta(days=DAYS))
    counts = {"train": half, "validation": table.num_rows - half}
    return Features(
        uri=run.uri, fingerprint="f", table=made, names=definition.names, definition=f"{run.root}/definition.json",
        history=history, intervals={"train": whole, "validation": whole}, rows=counts, positives=counts,
    )  # fmt: skip


def bundle(root: Path, algorithm: Algorithm | None = None, definition: FeatureDefinition = DEFINITION) -> Bundle:
    """A bundle of a fitted model, below `root`/bundles."""
    algorithm, table = algorithm or XGBoost(rounds=10), transactions()
    source, model = root / "source", str(root / "fitted")
    source.mkdir(parents=True, exist_ok=True)
    definition = fit(model, algorithm, table, definition)
    predictor.save(str(source), algorithm, model, definition, calibration=CALIBRATION, thresholds=THRESHOLDS)
    rows = definition.encode(definition.compute(table))
    decided = ["approve"] * len(rows)
    known = baseline_of(
        definition.names, rows, np.linspace(0, 1, len(rows)), decisions=decided, actions=predictor.ACTIONS
    )
    counts = {"positives": {"test": int(sum(table["is_fraud"].to_pylist()))}, "rows": {"test": table.num_rows}}
    extras: Mapping[str, Any] = {
        "example": example(table),
        "lineage": counts, "evaluation": {"average_precision": 0.9}, "baseline": json.loads(known.model_dump_json())
    }  # fmt: skip
    for name, value in extras.items():
        (source / f"{name}.json").write_text(json.dumps(value))
    return Bundle.write(str(source), str(root / "bundles"))
