"""The four prequential folds of the public handbook, with the rich features: see `handbook.py --split folds`.

A fold is named by the first day of its train week; a week of delay and a week of test follow. `seven_days` trains on that
week, `history` on all days from May on up to its end. Features and settings were chosen on the four validation folds
before; `--choose` compares the candidates there. The test folds run with the chosen ones only.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from ray_mlops.algorithms import describe
from ray_mlops.algorithms.boosting import LightGBM
from ray_mlops.algorithms.ranking import average_precision
from ray_mlops.algorithms.worker import LocalWorker
from ray_mlops.contract import Data, Decision, Evaluation, Features, Run, Table, Trained
from ray_mlops.fraud.cards import card_codes, card_figures
from ray_mlops.fraud.features import FeaturesConfig, Split
from ray_mlops.fraud.rolling import roll
from ray_mlops.fraud.simulate import TRANSACTIONS
from ray_mlops.fraud.windows import Window
from ray_mlops.pipeline import Config
from ray_mlops.platform import files, store
from ray_mlops.platform.cores import cores
from ray_mlops.platform.parts import Source
from ray_mlops.platform.store import Step
from ray_mlops.recipes import RICH_WINDOWS
from ray_mlops.stage_names import StageName
from ray_mlops.stages import evaluate
from ray_mlops.stages import features as features_stage
from ray_mlops.stages.evaluate import EvaluateConfig
from ray_mlops.stages.ingest import IngestConfig, Parquet
from ray_mlops.stages.register import RegisterConfig

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

TEST = (datetime(2018, 8, 15), datetime(2018, 8, 8), datetime(2018, 8, 1), datetime(2018, 7, 25))
VALIDATION = (datetime(2018, 7, 11), datetime(2018, 7, 4), datetime(2018, 6, 27), datetime(2018, 6, 20))
FIRST = datetime(2018, 5, 1)  # the data begin in April: by then the windows of 30 days are full
WEEK = timedelta(days=7)
PUBLISHED = {
    "logistic regression": {"ap": 0.623, "auc": 0.868, "cp_at_100": 0.297},
    "random forest 100 trees": {"ap": 0.678, "auc": 0.870, "cp_at_100": 0.299},
    "XGBoost chosen on validation": {"ap": 0.687, "auc": 0.872, "cp_at_100": 0.302},
    "XGBoost best on test": {"ap": 0.694, "auc": 0.871, "cp_at_100": 0.304},
    "MLP": {"ap": 0.675, "auc": 0.876, "cp_at_100": 0.303},
    "LSTM": {"ap": 0.665, "auc": 0.876, "cp_at_100": 0.297},
    "CNN": {"ap": 0.599, "auc": 0.872, "cp_at_100": 0.288},
}
_USUAL: dict[str, Any] = {"learning_rate": 0.05, "subsample": 0.8, "colsample": 0.5, "reg_lambda": 10.0}
CANDIDATES = {
    "small": LightGBM(rounds=300, num_leaves=7, **_USUAL),
    "medium": LightGBM(rounds=200, num_leaves=15, **_USUAL),
    "large": LightGBM(rounds=300, num_leaves=31, **_USUAL),
}
CHOSEN = {"seven_days": "medium", "history": "medium"}


def ingested(data: Path, rename: Mapping[str, str]) -> Config:
    """The recipe that brings the transactions in."""
    sources = (Parquet(path=str(data), rename=dict(rename)),)
    return Config(
        name="handbook",
        algorithm=CANDIDATES["medium"],
        ingest=IngestConfig(name="handbook.transactions", data=TRANSACTIONS, sources=sources),
        features=FeaturesConfig(),
        register=RegisterConfig(name="handbook"),
    )


def features_of(week: datetime, regime: str) -> FeaturesConfig:
    """The features and the split of the fold whose train week starts on a day."""
    first = week if regime == "seven_days" else FIRST
    split = Split(
        train_days=(week + WEEK - first) / timedelta(days=1),
        delay_days=7,
        validation_days=7,
        test_days=7,
        end=week + 3 * WEEK,
        train_end=week + WEEK,
        validation_end=first,  # before train: the days between train and test have no labels yet
        known_days=7,
    )
    return FeaturesConfig(inputs=("amount",), calendar=("weekend", "night"), windows=RICH_WINDOWS, split=split)


def fit(config: Any, run: Run, *, features: Features) -> Trained:
    """`stages.train` in this process: the work is small and the workers would take longer to start."""
    source = Source.of(features)
    data = Data(source.read("train"), source.read("validation"), source.names)
    model = config.fit(data, LocalWorker(seed=run.seed, threads=cores()))
    model.save(files.join(run.uri, "model"))
    return Trained(
        uri=run.uri,
        fingerprint=run.fingerprint,
        algorithm=describe(config),
        metrics={},
        workers=1,
        rows=features.rows["train"],
    )


def evaluated(table: Table, run: Run, features: FeaturesConfig, algorithm: LightGBM) -> Evaluation:
    """A fold through the product's features, algorithm and evaluation; what is finished is not done again."""

    def done(name: StageName, stage: Any, config: Any, upstream: Mapping[str, Any]) -> Any:
        record = store.once(Step(name, stage, config, upstream), run)
        print(f"{name:10}{record.seconds:8.1f} s  {record.status}", file=sys.stderr, flush=True)
        return record.artifact

    made = done("features", features_stage.run, features, {"table": table})
    trained = done("train", fit, algorithm, {"features": made})
    decision = Decision(uri="", fingerprint="protocol", verdict="use_ml", reasons=("the protocol asks for a model",))
    study = {"features": made, "trained": trained, "decision": decision, "algorithm": algorithm}
    return done("evaluate", evaluate.run, EvaluateConfig(), study)


def spread(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean and population standard deviation over folds, `ap` and `ap_sd` and so on."""
    found: dict[str, float] = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        found |= {name: round(float(values.mean()), 4), f"{name}_sd": round(float(values.std()), 4)}
    return found


# ---- what can be seen ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evidence:
    """Which frauds show one of three signs when they happen: a rule made by hand, with the scenarios of the simulator in
    view. A model can find fainter signs, so it is no bound on what the data allow.

    An amount above 220 is one (scenario 1), so is a fraud of the terminal's last 28 days (scenario 2) whose label is out
    by then, and an amount at least twice the mean of the card's genuine ones before (scenario 3, five times a usual
    amount: with a standard deviation of half the mean, one in forty genuine amounts is as high).
    """

    keys: pa.Array
    visible: np.ndarray

    @classmethod
    def of(cls, data: Path) -> "Evidence":
        table = _scenarios(data)
        terminal = Window(entity="terminal", value="compromised", spans=(21,), aggregates=("sum",), delay=7)
        card = Window(entity="card", value="genuine", spans=(90,), aggregates=("mean",))
        seen = roll([terminal, card], table, key="id", time="time", arrival=lambda window: None)
        amounts = table["amount"].to_numpy()
        usual = seen[card.names()[0]]
        visible = (amounts > 220) | (seen[terminal.names()[0]] > 0) | ((usual > 0) & (amounts >= 2 * usual))
        return cls(table["id"].combine_chunks(), visible)

    def read(self, scores: str, names: Mapping[str, str]) -> dict[str, float]:
        """Of the test rows behind a `scores.parquet`: the share of frauds without a sign, and the figures of who ranks
        the frauds with one first, without error, and takes every other row for alike."""
        rows = pq.read_table(scores, filters=pc.field("split") == "test")
        frauds = rows[names["label"]].to_numpy() > 0
        places = pc.index_in(rows[names["key"]], value_set=self.keys).to_numpy()
        found = (frauds & self.visible[places]).astype(np.float64)
        days = pc.days_between(pc.min(rows[names["time"]]), rows[names["time"]]).to_numpy()
        figures = card_figures(card_codes(rows[names["card"]]), found, frauds, days)
        return {
            "hidden": float(1.0 - found[frauds].mean()),
            "ap": average_precision(frauds, found),
            "card_recall_at_100": figures["recall"],
        }


def _scenarios(data: Path) -> pa.Table:
    columns = {"TRANSACTION_ID": "id", "CUSTOMER_ID": "card", "TERMINAL_ID": "terminal", "TX_AMOUNT": "amount"}
    raw = pq.read_table(data, columns=[*columns, "TX_DATETIME", "TX_FRAUD", "TX_FRAUD_SCENARIO"])
    table = raw.select(list(columns)).rename_columns(list(columns.values()))
    genuine = np.where(raw["TX_FRAUD"].to_numpy() == 0, raw["TX_AMOUNT"].to_numpy(), np.nan)
    compromised = (raw["TX_FRAUD_SCENARIO"].to_numpy() == 2).astype(np.float64)
    added: Iterator[tuple[str, Any]] = iter(
        {
            "time": raw["TX_DATETIME"].cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC")),
            "genuine": pa.array(genuine),
            "compromised": pa.array(compromised),
        }.items()
    )
    for name, column in added:
        table = table.append_column(name, column)
    return table
