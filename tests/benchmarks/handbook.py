"""The public handbook benchmark through the product: `python tests/benchmarks/handbook.py --split chapter3`.

Reads the simulated transactions of "Reproducible Machine Learning for Credit Card Fraud Detection" and runs the same
lifecycle as `ray-mlops run`, with the protocol of chapter 3: train 2018-07-25 to 07-31, a week of delay, test 08-08 to
08-14, cards known as compromised removed. Prints a table beside the published figures and, last, one JSON line.
"""

import argparse
import json
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from ray_mlops import algorithms, console, pipeline, runs
from ray_mlops.contract import Evaluation
from ray_mlops.fraud.features import FeaturesConfig, Split
from ray_mlops.fraud.simulate import TRANSACTIONS
from ray_mlops.pipeline import Config
from ray_mlops.platform import runtime
from ray_mlops.recipes import HANDBOOK_WINDOWS
from ray_mlops.stages.ingest import IngestConfig, Parquet
from ray_mlops.stages.register import RegisterConfig
from ray_mlops.stages.tune import TuneConfig

RENAME = {
    "TRANSACTION_ID": "transaction_id",
    "TX_DATETIME": "time",
    "CUSTOMER_ID": "customer_id",
    "TERMINAL_ID": "terminal_id",
    "TX_AMOUNT": "amount",
    "TX_FRAUD": "is_fraud",
}
PUBLISHED = {  # re-run with plain libraries, equal to 0.002
    "logistic regression": {"ap": 0.606, "auc": 0.871, "cp_at_100": 0.291},
    "random forest": {"ap": 0.658, "auc": 0.867, "cp_at_100": 0.287},
    "XGBoost 1.5 defaults": {"ap": 0.639, "auc": 0.862, "cp_at_100": 0.273},
}
NAMES = {
    "ap": "average_precision",
    "auc": "roc_auc",
    "cp_at_100": "card_precision_at_100",
    "card_recall_at_100": "card_recall_at_100",
}
CHAPTER3 = Split(
    train_days=7,
    delay_days=7,
    validation_days=7,
    test_days=7,
    end=datetime(2018, 8, 15),
    train_end=datetime(2018, 8, 1),
    validation_end=datetime(2018, 7, 25),  # before train: the days between train and test have no labels yet
)


def chapter3(data: Path, kind: str) -> Config:
    """The recipe of the chapter-3 week for one algorithm at its defaults."""
    return Config(
        name="handbook",
        algorithm=algorithms.ALGORITHMS[kind](),
        ingest=IngestConfig(
            name="handbook.transactions", data=TRANSACTIONS, sources=(Parquet(path=str(data), rename=RENAME),)
        ),
        features=FeaturesConfig(
            inputs=("amount",), calendar=("weekend", "night"), windows=HANDBOOK_WINDOWS, split=CHAPTER3
        ),
        tune=TuneConfig(trials=0),
        register=RegisterConfig(name="handbook"),
    )


def measure(config: Config, root: str) -> dict[str, float]:
    """Test figures of a recipe, run through the lifecycle up to `evaluate`."""
    lines = console.StageLines()
    run = runs.open_run(config, "handbook", root, override="public benchmark with a fixed protocol")
    records = pipeline.execute(config, run, last="evaluate", finished=lines.finished)
    evaluation = records[-1].artifact
    assert isinstance(evaluation, Evaluation)
    return {short: round(evaluation.metrics[name], 4) for short, name in NAMES.items()}


def show(rows: dict[str, dict[str, float]]) -> None:
    """Print the figures, published and ours."""
    print(f"\n{'chapter 3':<28}" + "".join(f"{name:>20}" for name in NAMES))
    for name, row in rows.items():
        print(f"{name:<28}" + "".join(f"{row[key]:>20.4f}" if key in row else f"{'-':>20}" for key in NAMES))


def main() -> None:
    """Run the chosen split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=["chapter3"], default="chapter3")
    default = Path(__file__).resolve().parents[3] / "shared" / "data" / "handbook" / "transactions.parquet"
    parser.add_argument("--data", type=Path, default=default)
    arguments = parser.parse_args()
    if not arguments.data.is_file():
        sys.exit(f"the handbook's transactions are not in {arguments.data}: give their place with --data")
    found = {}
    with tempfile.TemporaryDirectory() as root:
        try:
            for kind in ("logistic", "xgboost", "lightgbm"):
                found[kind] = measure(chapter3(arguments.data, kind), root)
        finally:
            runtime.disconnect()
    show({**{f"{name} (published)": row for name, row in PUBLISHED.items()}, **found})
    boosting = max(found["xgboost"], found["lightgbm"], key=lambda row: row["ap"])
    print(json.dumps({"chapter3": {"logistic": found["logistic"], "boosting": boosting, "xgboost": found["xgboost"]}}))


if __name__ == "__main__":
    main()
