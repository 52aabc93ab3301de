"""Importance: contributions where they add up, permutation where not; what was planted comes first."""

import numpy as np
import pytest

from ray_mlops.algorithms import LightGBM, XGBoost
from ray_mlops.algorithms.linear import LogisticRegression
from ray_mlops.algorithms.worker import LocalWorker
from ray_mlops.contract import Algorithm, Data, Model
from ray_mlops.fraud.importance import importance
from tests.small_model import Rows

NAMES = ("noise", "strong", "weak", "never")


def rows(count: int = 3_000) -> tuple[np.ndarray, np.ndarray]:
    """`strong` raises the risk, `weak` lowers it, `noise` does nothing, `never` is always missing."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(count, 4)).astype(np.float32)
    odds = 2.5 * matrix[:, 1] - 0.8 * matrix[:, 2] - 3
    matrix[:, 3] = np.nan
    return matrix, (random.random(count) < 1 / (1 + np.exp(-odds))).astype(np.float32)


def fitted(algorithm: Algorithm) -> Model:
    part = Rows(*rows())
    return algorithm.fit(Data(part, part, NAMES), LocalWorker())


@pytest.mark.parametrize("algorithm", [XGBoost(rounds=40), LightGBM(rounds=40), LogisticRegression()])
def test_shipped_models_are_explained_by_their_own_contributions(algorithm: Algorithm) -> None:
    matrix, labels = rows()
    found = importance(fitted(algorithm), matrix, labels, NAMES, weights=np.ones(len(matrix)), seed=0)
    assert found["method"] == "contributions"
    first, second = found["features"][:2]
    assert (first["feature"], first["direction"]) == ("strong", "higher raises the risk")
    assert (second["feature"], second["direction"]) == ("weak", "higher lowers the risk")
    assert first["importance"] > 2 * second["importance"] and first["on_frauds"] > 0
    unused = next(row for row in found["features"] if row["feature"] == "never")
    assert unused["importance"] == pytest.approx(0, abs=1e-6) and unused["direction"] == ""


def test_weights_make_up_for_rows_that_were_left_out() -> None:
    matrix, labels = rows()
    model = fitted(XGBoost(rounds=20))
    once = importance(model, matrix, labels, NAMES, weights=np.ones(len(matrix)), seed=0)
    twice = np.concatenate([matrix, matrix[labels > 0]]), np.concatenate([labels, labels[labels > 0]])
    weights = np.where(twice[1] > 0, 0.5, 1.0)
    again = importance(model, *twice, NAMES, weights=weights, seed=0)
    assert [row["importance"] for row in again["features"]] == pytest.approx(
        [row["importance"] for row in once["features"]]
    )


class Secretive:
    """A model whose explanations have nothing to do with its scores."""

    def predict(self, batch: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-2.5 * batch[:, 1] + 3))

    def explain(self, batch: np.ndarray) -> np.ndarray:
        return np.zeros_like(batch) + np.nan_to_num(batch[:, :1])

    def save(self, path: str) -> None:
        raise NotImplementedError


def test_a_model_whose_contributions_do_not_add_up_is_asked_by_permutation() -> None:
    matrix, labels = rows()
    found = importance(Secretive(), matrix, labels, NAMES, weights=np.ones(len(matrix)), seed=0)
    assert found["method"] == "permutation" and found["points"] == []
    assert found["features"][0]["feature"] == "strong" and found["features"][0]["importance"] > 0.2
    assert {row["importance"] for row in found["features"][1:]} == {0.0}
    assert importance(Secretive(), matrix, labels, NAMES, weights=np.ones(len(matrix)), seed=0) == found


def test_without_frauds_there_is_nothing_to_lose() -> None:
    matrix, labels = rows(200)
    found = importance(Secretive(), matrix, 0 * labels, NAMES, weights=np.ones(200), seed=0)
    assert found["features"] == []
