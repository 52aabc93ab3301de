"""The model that all servers answer with: XGBoost of the fraud recipe on 30 features that callers send along."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ray_mlops.algorithms.boosting import XGBoost, XGBoostModel
from ray_mlops.algorithms.worker import LocalWorker
from ray_mlops.contract import Column, Data, Schema
from ray_mlops.fraud import predictor
from ray_mlops.fraud.features import FeatureDefinition, Window
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.parts import ArrayPart

NAMES = ("amount", *(f"feature_{number:02d}" for number in range(1, 30)))
START = datetime(2026, 1, 1, tzinfo=UTC)
_COLUMNS = (
    Column(name="id", type="int64"),
    Column(name="time", type="timestamp"),
    *(Column(name=name, type="float64", minimum=0 if name == "amount" else None) for name in NAMES),
)
SCHEMA = Schema(
    columns=(*_COLUMNS, Column(name="is_fraud", type="int64", domain=(0, 1))),
    key="id",
    time="time",
    label="is_fraud",
    amount="amount",
)
FEATURES_IN = FeatureDefinition(data=SCHEMA, inputs=NAMES)
ONLINE_SCHEMA = Schema(
    columns=(*SCHEMA.columns, Column(name="customer_id", type="int64"), Column(name="terminal_id", type="int64")),
    key="id",
    time="time",
    label="is_fraud",
    amount="amount",
    entities=("customer_id", "terminal_id"),
)
_SPANS = (1.0, 7.0, 30.0)
ONLINE = FeatureDefinition(
    data=ONLINE_SCHEMA,
    inputs=NAMES,
    windows=tuple(
        Window(entity=entity, value="amount", spans=_SPANS, aggregates=("count", "mean"))
        for entity in ("customer_id", "terminal_id")
    ),
)


def transactions(rows: int = 50_000, seed: int = 0) -> pa.Table:
    """Made-up transactions of 5,000 customers at 1,000 terminals; fraud is a large amount, or two features that agree."""
    random = np.random.default_rng(seed)
    features = {name: np.round(random.normal(size=rows), 6) for name in NAMES[1:]}
    amount = np.round(random.gamma(2.0, 25.0, rows), 2)
    odd = features["feature_01"] * features["feature_02"] + 0.3 * features["feature_03"] > 2.5
    fraud = (amount > 180) | odd ^ (random.random(rows) < 0.002)
    times = [START + timedelta(seconds=40 * place) for place in range(rows)]
    return pa.table(
        {
            "id": np.arange(rows),
            "time": pa.array(times, pa.timestamp("us", "UTC")),
            "amount": amount,
            **features,
            "is_fraud": fraud.astype(np.int64),
            "customer_id": random.integers(0, 5_000, rows),
            "terminal_id": random.integers(0, 1_000, rows),
        }
    )


def body(table: pa.Table, definition: FeatureDefinition, place: int) -> bytes:
    """A row as callers send it."""
    names = [*(column.name for column in _COLUMNS), *definition.data.entities]
    row = {name: table[name][place].as_py() for name in names}
    return json.dumps({**row, "time": row["time"].isoformat()}).encode()


def make(folder: Path, definition: FeatureDefinition, table: pa.Table) -> Bundle:
    """The bundle of a model fitted on a table; beside it, in `folder`, what the other servers read."""
    source, model = folder / "source", folder / "fitted"
    source.mkdir(parents=True)
    fitted = definition.fitted(table)
    part = ArrayPart(fitted.encode(fitted.compute(table)), table["is_fraud"].to_numpy().astype(np.float32))
    algorithm = XGBoost()
    found = algorithm.fit(Data(part, part, fitted.names), LocalWorker())
    found.save(str(model))
    os.link(model / XGBoostModel.FILE, folder / "model.ubj")
    (folder / "names.json").write_text(json.dumps(NAMES))
    calibration = {"score": (0.0, 1.0), "probability": (0.001, 0.9)}
    predictor.save(
        str(source), algorithm, str(model), fitted, calibration=calibration, thresholds={"review": 0.3, "block": 0.7}
    )
    (source / "example.json").write_text(body(table, definition, 0).decode())
    return Bundle.write(str(source), str(folder / "bundles"))


def save_for_mlflow(folder: Path, table: pa.Table) -> Path:
    """The same booster as MLflow keeps it, with the signature that has callers checked."""
    import mlflow
    import xgboost

    booster = xgboost.Booster(model_file=str(folder / "model.ubj"))
    booster.set_param({"nthread": 1})
    frame = table.select(NAMES).slice(0, 5).to_pandas()
    scores: Any = booster.inplace_predict(frame.to_numpy(np.float32))
    path = folder / "mlflow"
    mlflow.xgboost.save_model(booster, str(path), signature=mlflow.models.infer_signature(frame, scores))
    return path
