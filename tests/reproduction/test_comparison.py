"""Two results of one stage: equal to the bit, equal as far as chance goes, or different, and what differs by name."""

import json
from pathlib import Path

import numpy as np
import pytest

from ray_mlops.contract import Decision, Evaluation, ImageFeatures, Trained, Trials
from ray_mlops.reproduction.comparison import compare, differences
from ray_mlops.reproduction.conditions import changed
from ray_mlops.reproduction.contents import content
from tests import small_images

METRICS = {"average_precision": 0.6, "average_precision_low": 0.5, "average_precision_high": 0.7, "threshold": 0.31}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ImageFeatures, Trained]:
    """Features of the digits and a model fitted on them."""
    root = tmp_path_factory.mktemp("digits")
    features = small_images.featured(root)
    return root, features, small_images.fitted(root, features)


def evaluation(folder: Path, **metrics: float) -> Evaluation:
    folder.mkdir()
    details = folder / "details.json"
    details.write_text(json.dumps({"metrics": metrics, "seconds": 1.5}))
    return Evaluation(
        uri=str(folder), fingerprint=folder.name, details=str(details), metrics=metrics, calibration={}, report=""
    )


def moved(study: tuple[Path, ImageFeatures, Trained], name: str, noise: float) -> Trained:
    """The model with its mean pictures moved."""
    root, _, trained = study
    found = np.load(Path(trained.uri, "model", "means.npz"))
    means = found["means"] + noise * np.random.default_rng(1).normal(size=found["means"].shape)
    folder = root / name / "model"
    folder.mkdir(parents=True)
    np.savez(folder / "means.npz", means=means, sharpness=found["sharpness"])
    return trained.model_copy(update={"uri": str(folder.parent)})


def test_times_and_places_are_no_content(tmp_path: Path) -> None:
    one, other = evaluation(tmp_path / "one", **METRICS), evaluation(tmp_path / "other", **METRICS)
    assert content(one) == content(other) and content(one)["details.json.metrics.threshold"] == 0.31
    assert compare(one, other, {}, seed=0).verdict == "bitwise equal"


def test_an_evaluation_is_equal_within_its_recorded_intervals(tmp_path: Path) -> None:
    recorded = evaluation(tmp_path / "recorded", **METRICS)
    near = compare(recorded, evaluation(tmp_path / "near", **{**METRICS, "average_precision": 0.61}), {}, seed=0)
    assert near.verdict == "statistically equal"
    assert near.reasons == ("average_precision 0.61 in the recorded interval [0.5, 0.7]",)
    far = compare(recorded, evaluation(tmp_path / "far", **{**METRICS, "average_precision": 0.8}), {}, seed=0)
    assert far.verdict == "different"
    assert far.reasons[0] == "metrics.average_precision was 0.6, is 0.8"


@pytest.mark.parametrize(
    ("noise", "verdict"), [(0.0, "bitwise equal"), (1e-4, "statistically equal"), (60, "different")]
)
def test_a_model_is_equal_as_far_as_the_same_rows_can_tell(
    study: tuple[Path, ImageFeatures, Trained], noise: float, verdict: str
) -> None:
    _, features, trained = study
    upstream = {"features": features, "algorithm": small_images.QUICK}
    found = compare(trained, moved(study, f"moved-{noise}", noise), upstream, seed=3)
    assert found.verdict == verdict
    if verdict == "statistically equal":
        assert "accuracy differs by [" in found.reasons[0] and "paired resamples" in found.reasons[0]


def test_a_decision_is_equal_when_the_verdict_is_and_the_gains_are_near(tmp_path: Path) -> None:
    def decision(name: str, value: float, verdict: str = "use_ml") -> Decision:
        (tmp_path / name).mkdir()
        gain = {"value": value, "low": 0.1, "high": 0.3}
        (tmp_path / name / "decision.json").write_text(
            json.dumps({"gains": {"average_precision": gain, "money": None}})
        )
        return Decision.model_validate(
            {"uri": str(tmp_path / name), "fingerprint": "d", "verdict": verdict, "reasons": ["it pays"]}
        )

    recorded = decision("recorded", 0.2)
    assert compare(recorded, decision("near", 0.25), {}, seed=0).verdict == "statistically equal"
    assert compare(recorded, decision("far", 0.4), {}, seed=0).verdict == "different"
    assert compare(recorded, decision("other", 0.2, "no_ml"), {}, seed=0).verdict == "different"


def test_other_hyperparameters_are_different_whatever_they_reach() -> None:
    recorded = Trials(uri="/nowhere", fingerprint="t", algorithm="a", best={"depth": 3}, value=0.7, trials=2, log="")
    found = compare(recorded, recorded.model_copy(update={"best": {"depth": 4}}), {}, seed=0)
    assert found.verdict == "different" and found.reasons == ("best.depth was 3, is 4",)


def test_few_differences_are_named_and_the_others_counted() -> None:
    recorded = {str(number): number for number in range(9)}
    assert differences(recorded, recorded) == ()
    assert differences(recorded, {}) == (
        "0 was 0, is absent", "1 was 1, is absent", "2 was 2, is absent", "and 6 more",
    )  # fmt: skip
    assert differences({"value": float("nan")}, {"value": float("nan")}) == ()


def test_every_input_that_changed_is_named() -> None:
    inputs = {"code": "c", "config": {"depth": 3}, "seed": 1, "identity": "i", "upstream": {"table": "t"}}
    conditions = {
        "modules": {"ray_mlops.stages.train": "1"}, "environment": {"numpy": "2.0"}, "machine": {"cores": 2}, "git": "g",
    }  # fmt: skip
    then = {"inputs": inputs, "conditions": conditions, "artifact": {"sources": {"a.csv": "1111", "b.csv": "2222"}}}
    assert changed(then, {"inputs": inputs, "conditions": conditions, "sources": None}) == ()
    now = {
        "inputs": {"code": "d", "config": {"depth": 4}, "seed": 2, "identity": "j", "upstream": {"table": "u"}},
        "conditions": {
            "modules": {"ray_mlops.stages.train": "2"}, "environment": {"numpy": "2.1"}, "machine": {"cores": 4}, "git": "g",
        },
        "sources": {"a.csv": "1111", "b.csv": "3333"},
    }  # fmt: skip
    assert changed(then, now) == (
        "source b.csv: digest was 2222, is 3333",
        "code: ray_mlops.stages.train",
        "config.depth was 3, is 4",
        "upstream.table was t, is u",
        "seed was 1, is 2",
        "environment.numpy was 2.0, is 2.1",
        "machine.cores was 2, is 4",
    )
