"""Evaluate: real features, a real model, its rivals, on this machine and on Ray."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score

from ray_mlops.algorithms import LightGBM, describe
from ray_mlops.algorithms.worker import LocalWorker
from ray_mlops.contract import (
    Algorithm,
    Condition,
    Data,
    Decision,
    Evaluation,
    Features,
    ModelVersion,
    Rule,
    Schema,
    Trained,
)
from ray_mlops.errors import ConfigError
from ray_mlops.fraud import predictor
from ray_mlops.fraud.features import FeatureDefinition, FeaturesConfig
from ray_mlops.platform import files, tables
from ray_mlops.platform.bundle import Bundle
from ray_mlops.stages import evaluate, features
from ray_mlops.stages.evaluate import EvaluateConfig
from tests.own_algorithm import LargeAmounts
from tests.planted import EVENTS, FEATURES, a_run, by_many_causes, clean_table, events
from tests.small_model import Rows

QUICK = EvaluateConfig(bootstrap=60)
RULE = Rule(conditions=(Condition(column="amount", operator=">=", value=150.0),))


class Study(NamedTuple):
    """What evaluate takes."""

    features: Features
    trained: Trained
    algorithm: Algorithm


def study(
    root: Path,
    *,
    config: FeaturesConfig = FEATURES,
    data: Schema = EVENTS,
    algorithm: Algorithm | None = None,
    rows: int = 12_000,
) -> Study:
    """Features of planted events and a model fitted on their train rows."""
    algorithm = algorithm or LightGBM(rounds=30)
    table = clean_table(events(by_many_causes, rows=rows), root, data)
    made = features.run(config, a_run(root, "features"), table=table)
    parts = {part: _part(made, part) for part in ("train", "validation")}
    model = algorithm.fit(Data(parts["train"], parts["validation"], made.names), LocalWorker())
    (root / "train" / "model").mkdir(parents=True)
    model.save(str(root / "train" / "model"))
    uri = str(root / "train")
    trained = Trained(uri=uri, fingerprint="t", algorithm=describe(algorithm), metrics={}, workers=1, rows=rows)
    return Study(made, trained, algorithm)


def _part(made: Features, part: str) -> Rows:
    table = tables.load(made.table).filter(pc.field("split") == part).sort_by([("time", "ascending")])
    matrix = np.stack([table[name].to_numpy().astype(np.float32) for name in made.names], axis=1)
    return Rows(matrix, table["fraud"].to_numpy().astype(np.float32))


def decision(rule: Rule | None = RULE) -> Decision:
    return Decision(uri="", fingerprint="d", verdict="use_ml", reasons=(), rule=rule)


def evaluated(given: Study, root: Path, config: EvaluateConfig = QUICK, **other: Any) -> Evaluation:
    return evaluate.run(
        config, a_run(root, "evaluate"), **given._asdict(), **{"decision": decision(), "champion": None, **other}
    )


def details(found: Evaluation) -> dict[str, Any]:
    return json.loads(Path(found.details).read_text())


def champion_of(given: Study, root: Path, found: Evaluation) -> ModelVersion:
    """The study's model as a registered bundle."""
    folder = root / "bundle"
    definition = FeatureDefinition.model_validate(files.read_json(given.features.definition))
    predictor.save(
        str(folder), given.algorithm, f"{given.trained.uri}/model", definition,
        calibration=found.calibration, thresholds=found.thresholds,
    )  # fmt: skip
    bundle = Bundle.write(str(folder), str(root / "bundles"))
    return ModelVersion(uri=bundle.uri, fingerprint="c", name="test", version="7", digest=bundle.digest)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study(tmp_path_factory.mktemp("study"))


def test_the_model_is_judged_on_the_test_rows(ready: Study, tmp_path: Path) -> None:
    found = evaluated(ready, tmp_path)
    scores = pq.read_table(tmp_path / "runs" / "evaluate" / "scores.parquet")
    assert {"id", "time", "card", "amount", "fraud", "split", "score", "probability", "decision"} <= set(
        scores.column_names
    )
    assert scores.num_rows == ready.features.rows["validation"] + ready.features.rows["test"]
    test = scores.filter(pc.field("split") == "test")
    labels, score = test["fraud"].to_numpy(), test["score"].to_numpy()
    assert found.metrics["average_precision"] == pytest.approx(average_precision_score(labels, score))
    alerts = score >= found.thresholds["review"]
    assert found.metrics["savings"] == pytest.approx(
        test["amount"].to_numpy()[alerts & (labels == 1)].sum() - 5 * alerts.sum()
    )
    assert (test["decision"].to_numpy(zero_copy_only=False) != "approve").tolist() == alerts.tolist()
    assert found.metrics["gain_over_rule"] > 0.1
    report = Path(found.report).read_text()
    assert "Evaluation" in report and "amount &gt;= 150" in report


def test_thresholds_and_calibration_come_from_validation_alone(ready: Study, tmp_path: Path) -> None:
    budget = EvaluateConfig.model_validate({"bootstrap": 20, "policy": {"by": "budget", "alerts_per_day": 10}})
    found = evaluated(ready, tmp_path, budget)
    scores = pq.read_table(tmp_path / "runs" / "evaluate" / "scores.parquet")
    held_out = scores.filter(pc.field("split") == "validation")["score"].to_numpy()
    assert (held_out >= found.thresholds["review"]).sum() == 80
    calibrated = np.interp(scores["score"].to_numpy(), found.calibration["score"], found.calibration["probability"])
    assert np.allclose(calibrated, scores["probability"].to_numpy())


def test_slices_are_by_amount_time_and_declared_values(ready: Study, tmp_path: Path) -> None:
    parts = details(evaluated(ready, tmp_path))["slices"]
    assert {part["by"] for part in parts} == {"amount", "hour", "day", "channel"}
    channels = {part["value"]: part["rows"] for part in parts if part["by"] == "channel"}
    assert set(channels) == {"chip", "online", "phone"}
    assert sum(channels.values()) == ready.features.rows["test"]


def test_what_the_model_looks_at_is_told_in_words(ready: Study, tmp_path: Path) -> None:
    found = evaluated(ready, tmp_path)
    asked = details(found)["importance"]
    assert asked["method"] == "contributions" and {row["feature"] for row in asked["features"]} == set(
        ready.features.names
    )
    first = asked["features"][0]
    assert first["feature"] in ("amount", "distance", "speed") and first["direction"] == "higher raises the risk"
    words = {row["feature"]: row["words"] for row in asked["features"]}
    assert "the mean amount of this card in 7 days" in words.values()
    assert "SHAP" in Path(found.report).read_text()


def test_declared_groups_are_compared_and_can_be_gates(ready: Study, tmp_path: Path) -> None:
    found = evaluated(ready, tmp_path, EvaluateConfig(bootstrap=60, groups=("channel", "distance")))
    groups = details(found)["groups"]
    assert {group["value"] for group in groups if group["by"] == "channel"} == {"chip", "online", "phone"}
    assert len([group for group in groups if group["by"] == "distance"]) == 4
    assert {"channel", "distance"} <= set(found.slices), "monitoring goes on with them"
    online = next(group for group in groups if group["value"] == "online")
    scores = pq.read_table(tmp_path / "runs" / "evaluate" / "scores.parquet").filter(pc.field("split") == "test")
    alerts = scores["score"].to_numpy() >= found.thresholds["review"]
    assert sum(group["rows"] for group in groups if group["by"] == "channel") == len(alerts)
    assert online["gaps"]["tpr"]["low"] <= online["gaps"]["tpr"]["value"] <= online["gaps"]["tpr"]["high"]
    assert 0 <= found.metrics["selection_ratio"] <= 1 and found.metrics["tpr_gap"] >= 0
    assert "Groups of people" in Path(found.report).read_text()
    assert details(evaluated(ready, tmp_path))["groups"] == []


def test_a_group_that_is_no_column_is_named_with_the_nearest(ready: Study, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="evaluate.groups: 'chanel'.*did you mean 'channel'"):
        evaluated(ready, tmp_path, EvaluateConfig(groups=("chanel",)))


def test_a_slice_that_is_no_column_is_named_with_the_nearest(ready: Study, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'channel'"):
        evaluated(ready, tmp_path, EvaluateConfig(slices=("chanel",)))
    assert not (tmp_path / "runs" / "evaluate" / "details.json").exists()


def test_a_champion_with_the_same_features_is_scored_on_the_same_rows(ready: Study, tmp_path: Path) -> None:
    first = evaluated(ready, tmp_path)
    second = evaluated(ready, tmp_path, champion=champion_of(ready, tmp_path, first))
    assert second.metrics["gain_over_champion"] == second.metrics["gain_over_champion_high"] == 0
    assert second.metrics["savings_over_champion"] == 0
    assert details(second)["rivals"]["champion"]["about"] == "version 7 of test"


def test_a_champion_with_other_features_is_scored_from_the_history(ready: Study, tmp_path: Path) -> None:
    fewer = FEATURES.model_copy(update={"inputs": ("amount", "speed")})
    other = study(tmp_path / "other", config=fewer)
    alone = evaluated(other, tmp_path / "other")
    found = evaluated(ready, tmp_path, champion=champion_of(other, tmp_path, alone))
    rival = details(found)["rivals"]["champion"]["metrics"]
    assert rival["average_precision"]["value"] == pytest.approx(alone.metrics["average_precision"])
    assert rival["savings"]["value"] == pytest.approx(alone.metrics["savings"])
    assert found.metrics["gain_over_champion"] > 0


def test_what_cannot_be_compared_is_left_out_with_a_note(ready: Study, tmp_path: Path) -> None:
    gone = Rule(conditions=(Condition(column="gone", operator=">=", value=1.0),))
    found = evaluated(ready, tmp_path, decision=decision(gone))
    assert "rule" not in details(found)["rivals"]
    assert "gone, no feature here" in details(found)["notes"][0]


def test_without_cards_and_amounts_the_rest_is_told(tmp_path: Path) -> None:
    bare = Schema(columns=EVENTS.columns, key="id", time="time", label="fraud")
    given = study(tmp_path, config=FEATURES.model_copy(update={"windows": ()}), data=bare)
    found = evaluated(given, tmp_path, decision=decision(None))
    assert not [name for name in found.metrics if name.startswith("card_")]
    assert {"average_precision", "value_recall", "savings", "gain_over_rule"} <= set(found.metrics)


def test_a_users_own_algorithm_is_judged_alike_on_ray_and_in_process(tmp_path: Path, ray_session: None) -> None:
    given = study(tmp_path, algorithm=LargeAmounts(), rows=6_000)
    here = evaluated(given, tmp_path)
    assert 0 < here.metrics["average_precision"] < 1
    there = evaluated(given, tmp_path, QUICK.model_copy(update={"in_process_rows": 0}))
    assert there.metrics == here.metrics
    assert (there.thresholds, there.calibration) == (here.thresholds, here.calibration)
