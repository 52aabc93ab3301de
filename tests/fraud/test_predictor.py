"""The predictor: what a bundle's model answers, in batch and one by one, and in words."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_mlops.algorithms.boosting import LightGBM, XGBoost
from ray_mlops.contract import Algorithm, Model
from ray_mlops.errors import ConfigError
from ray_mlops.fraud.predictor import ACTIONS, Predictor, phrases
from tests.own_algorithm import LargeAmounts
from tests.small_model import CALIBRATION, DEFINITION, THRESHOLDS, bundle, transactions


class Answering:
    """A model that gives the same answer whatever it is asked."""

    def __init__(self, answer: np.ndarray) -> None:
        self._answer = answer

    def predict(self, batch: np.ndarray) -> np.ndarray:
        return self._answer

    def explain(self, batch: np.ndarray) -> np.ndarray:
        return np.zeros_like(batch)

    def save(self, path: str) -> None:
        raise NotImplementedError


def answering(*scores: float, thresholds: dict[str, float] = THRESHOLDS) -> Predictor:
    model: Model = Answering(np.array(scores))
    return Predictor(model, DEFINITION.fitted(transactions(100)), CALIBRATION, thresholds)


@pytest.mark.parametrize("algorithm", [XGBoost(rounds=10), LightGBM(rounds=10), LargeAmounts(steepness=3.0)])
def test_a_bundle_gives_the_same_numbers_row_by_row_as_in_a_batch(tmp_path: Path, algorithm: Algorithm) -> None:
    predictor = Predictor.load(bundle(tmp_path, algorithm))
    definition = predictor.definition
    rows = definition.encode(definition.compute(transactions(300, seed=1)))
    together = predictor.score(rows)
    alone = [predictor.score(rows[place : place + 1]) for place in range(len(rows))]
    np.testing.assert_allclose(together.score, [one.score[0] for one in alone], rtol=1e-6)
    assert together.action.tolist() == [one.action[0] for one in alone]
    assert together.score.dtype == np.float64 and 0 <= together.score.min() < together.score.max() <= 1


def test_the_same_model_makes_the_same_bundle(tmp_path: Path) -> None:
    assert bundle(tmp_path / "a").digest == bundle(tmp_path / "b").digest
    assert bundle(tmp_path / "c", XGBoost(rounds=9)).digest != bundle(tmp_path / "d").digest


def test_a_users_own_algorithm_travels_with_its_code(tmp_path: Path) -> None:
    made = bundle(tmp_path, LargeAmounts(steepness=3.0))
    assert (
        Path(made.path("code/own_algorithm.py")).read_text()
        == Path(__file__).parents[1].joinpath("own_algorithm.py").read_text()
    )
    code = """if True:
        import json, sys
        import numpy as np
        from ray_mlops.fraud.predictor import Predictor
        from ray_mlops.platform.bundle import Bundle
        predictor = Predictor.load(Bundle.load(sys.argv[1]))
        rows = np.zeros((2, len(predictor.definition.names)), np.float32)
        rows[1, 0] = 500
        print(json.dumps(predictor.score(rows).score.tolist()))
    """
    # In a folder and a process that know nothing of the tests.
    run = subprocess.run(
        [sys.executable, "-c", code, made.uri], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    low, high = json.loads(run.stdout)
    assert low < 0.1 and high > 0.9


def test_decisions_follow_the_thresholds_ends_included() -> None:
    scores = answering(0.0, 0.2999, 0.3, 0.6999, 0.7, 1.0).score(np.zeros((6, 1), np.float32))
    decisions = [ACTIONS[action] for action in scores.action]
    assert decisions == ["approve", "approve", "review", "review", "block", "block"]


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ({}, "approve"),
        ({"review": math.inf, "block": math.inf}, "approve"),
        ({"review": 0.5}, "review"),
        ({"block": 0.5}, "block"),
        ({"review": 0.9, "block": 0.5}, "block"),
    ],
)
def test_a_threshold_that_is_missing_or_infinite_is_never_reached(thresholds: dict[str, float], expected: str) -> None:
    scores = answering(0.5, thresholds=thresholds).score(np.zeros((1, 1), np.float32))
    assert ACTIONS[scores.action[0]] == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_probabilities_are_the_calibrated_scores_and_never_cross(scores: list[float]) -> None:
    answer = answering(*scores).score(np.zeros((len(scores), 1), np.float32))
    np.testing.assert_allclose(answer.probability, 0.001 + np.array(scores) * 0.899)
    order = np.argsort(answer.score)
    assert (np.diff(answer.probability[order]) >= 0).all() and (np.diff(answer.action[order]) >= 0).all()


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ([[0.5], [0.5]], r"shape \(2, 1\)"),
        ([0.5], r"shape \(1,\)"),
        ([0.5, 1.5], "from 0.5 to 1.5"),
        ([0.5, math.nan], "nan"),
    ],
)
def test_a_model_that_does_not_score_is_named_as_such(answer: list, shown: str) -> None:
    predictor = Predictor(Answering(np.array(answer)), DEFINITION, CALIBRATION, THRESHOLDS)
    with pytest.raises(ConfigError, match=f"predict.. gave .*{shown}.* for 2 rows"):
        predictor.score(np.zeros((2, 1), np.float32))


def test_reasons_name_the_strongest_features_in_words(tmp_path: Path) -> None:
    predictor = Predictor.load(bundle(tmp_path))
    definition = predictor.definition
    row = np.full((1, len(definition.names)), np.nan, np.float32)
    row[0, 0] = 400
    (reasons,) = predictor.reasons(row, 3)
    assert len(reasons) == 3
    assert reasons[0]["feature"] == "amount" and reasons[0]["contribution"] > 0
    assert reasons[0]["text"] == "amount is 400, which raises the risk"
    sizes = [abs(reason["contribution"]) for reason in reasons]
    assert sizes == sorted(sizes, reverse=True)
    assert all(reason["value"] is None and "is unknown" in reason["text"] for reason in reasons[1:])
    assert predictor.reasons(row, 0) == [[]]
    assert len(predictor.reasons(row, 100)[0]) == len(definition.names)


def test_every_feature_has_a_phrase(tmp_path: Path) -> None:
    definition = DEFINITION.fitted(transactions(100))
    words = phrases(definition)
    assert tuple(words) == definition.names
    assert words["customer_id_mean_amount_7d"] == "the mean amount of this customer_id in 7 days"
    assert words["channel=chip"] == "channel being chip"
    assert words["terminal_id_mean_is_fraud_7d"] == "the mean is_fraud of this terminal_id in 7 days up to 7 days ago"
