"""Register: gates first, then one bundle with all an endpoint needs, then a version with the right alias."""

import importlib.metadata
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.contract import ModelVersion, Run, Table
from ray_mlops.errors import ConfigError, GateError
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.platform import provenance
from ray_mlops.platform.bundle import Bundle, origin
from ray_mlops.platform.registry import open_registry
from ray_mlops.platform.source_code import digest
from ray_mlops.stages import register
from ray_mlops.stages.register import Gate, RegisterConfig
from tests.own_algorithm import LargeAmounts
from tests.small_model import study, transactions

FIRST = RegisterConfig(name="small", gates={"average_precision": 0.5})


def a_run(root: Path, **fields: Any) -> Run:
    return Run(root=str(root), id="r1", recipe="small", uri=str(root / "artifact"), fingerprint="print", **fields)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def version(root: Path) -> ModelVersion:
    return register.run(FIRST, a_run(root, override="we insist"), **study(root))


def test_the_first_version_is_the_champion(root: Path, version: ModelVersion) -> None:
    assert (version.name, version.version, version.aliases) == ("small", "1", ("champion",))
    assert version.fingerprint == "print" and version.uri == str(root / "bundles" / version.digest)
    registered = open_registry(a_run(root)).version("small", "champion")
    assert registered.digest == version.digest and registered.approval == "approved" and registered.run == "r1"
    assert registered.metrics["average_precision"] == 0.8


def test_the_bundle_holds_all_that_an_endpoint_needs(version: ModelVersion) -> None:
    bundle = Bundle.load(version.uri, digest=version.digest)
    predictor = Predictor.load(bundle)
    rows = np.zeros((2, len(predictor.definition.names)), np.float32)
    assert predictor.score(rows).score.shape == (2,)
    assert bundle.json("thresholds.json") == {"review": 0.3, "block": 0.7}
    assert bundle.json("decision.json")["verdict"] == "use_ml"
    assert bundle.json("decision.json")["override"] == "we insist"
    assert bundle.json("evaluation.json")["average_precision"] == 0.8
    baseline = Baseline.model_validate(bundle.json("baseline.json"))
    assert set(baseline.features) == set(predictor.definition.names)
    assert baseline.score.rows == 2000 and sum(baseline.decisions.values()) == 2000
    assert baseline.features["amount"].rows == 4000
    assert set(baseline.decisions) == {"approve", "review", "block"} and baseline.unselected == "approve"
    assert (
        set(baseline.inputs["channel"].counts) == {"chip", "online"} and sum(baseline.inputs["channel"].cells) == 4000
    )
    lineage = bundle.json("lineage.json")
    assert lineage["tables"]["history"]["name"] == "small.clean" and lineage["algorithm"]["kind"] == "xgboost"
    assert lineage["environment"]["python"] and lineage["code"]


def test_the_bundle_holds_the_card(version: ModelVersion) -> None:
    card = Bundle.load(version.uri).json("card.json")
    assert card["stated"]["risk"] == "not rated"
    assert card["appraisal"] == {"metrics": {"average_precision": {"value": 0.8, "low": 0.7, "high": 0.9}}}


def test_the_example_is_the_last_transaction_without_its_label(version: ModelVersion) -> None:
    example = Bundle.load(version.uri).json("example.json")
    last = transactions().slice(3999).to_pylist()[0]
    assert example == {
        **{name: last[name] for name in ("transaction_id", "customer_id", "terminal_id", "amount", "channel")},
        "time": last["time"].isoformat(),
    }


def test_the_tables_are_referred_to_beside_the_bundle(version: ModelVersion) -> None:
    history = Table.model_validate(json.loads(Path(origin(version.uri)).read_text())["history"])
    assert history.rows == 4000 and history.name == "small.clean"


def test_what_does_not_belong_to_the_content_is_told_beside_the_bundle(root: Path, version: ModelVersion) -> None:
    made = json.loads(Path(provenance.beside(version.uri)).read_text())
    assert made["run"] == "r1" and made["seed"] == a_run(root).seed
    assert made["hardware"]["workers"] == 1
    installed = made["lock"]["distributions"]
    assert installed["ray"] == importlib.metadata.version("ray") and len(installed) > 50
    assert made["lock"]["digest"] == digest(installed)
    assert made["config"]["resolved"] is None, "this run was not opened by a command"
    inside = Path(version.uri, "lineage.json").read_text()
    assert not [name for name in ("hardware", "lock", "dirty") if f'"{name}"' in inside]


def test_another_run_that_makes_the_same_bundle_does_not_take_its_place(root: Path, version: ModelVersion) -> None:
    before = Path(provenance.beside(version.uri)).read_bytes()
    other = replace(a_run(root, override="we insist"), id="r2")
    assert register.run(FIRST, other, **study(root)).digest == version.digest
    assert Path(provenance.beside(version.uri)).read_bytes() == before


def test_the_same_model_has_the_same_digest_in_any_root(tmp_path: Path, version: ModelVersion) -> None:
    other = tmp_path / "quite" / "elsewhere"
    other.mkdir(parents=True)
    assert register.run(FIRST, a_run(other, override="we insist"), **study(other)).digest == version.digest


def test_registering_again_changes_nothing(root: Path, version: ModelVersion) -> None:
    again = register.run(FIRST, a_run(root, override="we insist"), **study(root))
    assert again == version
    assert len(open_registry(a_run(root)).versions("small")) == 1


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ({"average_precision": 0.81}, "average_precision is 0.8, below its limit 0.81"),
        ({"ece": Gate(maximum=0.05)}, "ece is 0.06, above its limit 0.05"),
        ({"broken": 0.1}, "broken is nan, below its limit 0.1"),
        ({"average_precision": 0.9, "roc_auc": 0.95}, "0.8, below its limit 0.9; roc_auc is 0.9, below its limit 0.95"),
    ],
)
def test_a_model_that_misses_a_gate_leaves_nothing(tmp_path: Path, gates: dict[str, Any], message: str) -> None:
    parts = study(tmp_path, ece=0.06, broken=float("nan"))
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(GateError, match=message):
        register.run(RegisterConfig(name="small", gates=gates), a_run(tmp_path), **parts)
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_limits_are_legal_values() -> None:
    config = RegisterConfig(gates={"average_precision": 0.8, "ece": Gate(minimum=0.0, maximum=0.06)})
    register.check(config, {"average_precision": 0.8, "ece": 0.06, "gain_over_champion": 0.0})


def test_a_gate_on_no_metric_gets_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="'averge_precision' is no metric .* did you mean 'average_precision'"):
        register.check(RegisterConfig(gates={"averge_precision": 0.5}), {"average_precision": 0.8})
    with pytest.raises(ConfigError, match="there are: average_precision, roc_auc"):
        register.check(RegisterConfig(gain="speed"), {"roc_auc": 1.0, "average_precision": 0.8})


@pytest.mark.parametrize(
    ("promote", "gain", "champion"),
    [("better", 0.05, "2"), ("better", -0.05, "1"), ("better", 0.0, "1"), ("first", 0.05, "1"), ("never", 0.05, None)],
)
def test_who_becomes_champion(root: Path, tmp_path: Path, promote: Any, gain: float, champion: str | None) -> None:
    config = RegisterConfig(name=f"{promote}{gain:g}", promote=promote)
    register.run(config, a_run(root), **study(tmp_path))
    made = register.run(config, a_run(root), **study(tmp_path, XGBoost(rounds=9), gain_over_champion=gain))
    found = open_registry(a_run(root)).champion(config.name)
    assert (found.version if found else None) == champion
    assert made.version == "2" and made.aliases == (("champion",) if champion == "2" else ("challenger",))


def test_what_was_held_against_another_champion_waits(root: Path, tmp_path: Path, version: ModelVersion) -> None:
    made = study(tmp_path, XGBoost(rounds=8), gain_over_champion=0.2)
    made["evaluation"] = made["evaluation"].model_copy(update={"champion": "7"})
    assert register.run(FIRST, a_run(root), **made).aliases == ("challenger",)
    found = open_registry(a_run(root)).champion(version.name)
    assert found is not None and found.version == version.version


def test_a_rejected_version_does_not_come_back_by_itself(root: Path, tmp_path: Path) -> None:
    config = RegisterConfig(name="unwanted")
    register.run(config, a_run(root), **study(tmp_path))
    open_registry(a_run(root)).reject("unwanted", "1", "no")
    assert register.run(config, a_run(root), **study(tmp_path)).aliases == ()
    assert open_registry(a_run(root)).champion("unwanted") is None


def test_a_users_own_algorithm_is_registered_with_its_code(root: Path, tmp_path: Path) -> None:
    made = register.run(RegisterConfig(name="own"), a_run(root), **study(tmp_path, LargeAmounts()))
    bundle = Bundle.load(made.uri)
    assert bundle.json("algorithm.json")["kind"] == "large_amounts"
    assert Path(bundle.path("code/own_algorithm.py")).is_file()
    assert isinstance(Predictor.load(bundle).thresholds, dict)


def test_a_model_that_does_not_score_is_not_registered(tmp_path: Path) -> None:
    parts = study(tmp_path, LargeAmounts())
    (tmp_path / "train" / "model" / "model.json").write_text('{"steepness": 1.0, "typical": NaN}')
    with pytest.raises(ConfigError, match="it must give one score in .0, 1. per row"):
        register.run(FIRST, a_run(tmp_path), **parts)
    assert not (tmp_path / "bundles").exists()
