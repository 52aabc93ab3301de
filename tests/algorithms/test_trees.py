"""Compiled trees give the numbers of the library, bit for bit."""

from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from ray_mlops.algorithms import trees
from ray_mlops.algorithms.boosting import LightGBM, LightGBMModel, XGBoost, XGBoostModel
from ray_mlops.algorithms.worker import LocalWorker
from ray_mlops.contract import Algorithm, Data
from ray_mlops.platform.parts import ArrayPart

RANDOM = np.random.default_rng(7)


def rows(count: int = 3000) -> np.ndarray:
    """Heavy tails, few distinct values, zeros, a column that is nearly always missing."""
    found = RANDOM.normal(size=(count, 6)).astype(np.float32)
    found[:, 1] = np.exp(4 * found[:, 1])
    found[:, 2] = np.round(found[:, 2])
    found[RANDOM.random((count, 6)) < 0.1] = np.nan
    found[RANDOM.random(count) < 0.95, 5] = np.nan
    return found


ROWS = rows()
LABELS = (np.nan_to_num(ROWS[:, 0]) * np.nan_to_num(ROWS[:, 2]) + RANDOM.normal(size=len(ROWS)) > 1).astype(np.float32)
STRANGE = np.array(
    [[value] * 6 for value in (np.nan, 0.0, -0.0, 1e-36, -1e-36, 1e-38, 3.4e38, -3.4e38, 1.0)], np.float32
)


ASKED = np.concatenate([ROWS, rows(2000), STRANGE])


@pytest.mark.parametrize("max_bin", [16, 4096])
@pytest.mark.parametrize("base_score", [0.5, 0.013])
def test_xgboost_is_walked_as_it_walks_itself(max_bin: int, base_score: float) -> None:
    parameters = {
        "objective": "binary:logistic",
        "base_score": base_score,
        "max_bin": max_bin,
        "max_depth": 7,
        "nthread": 1,
    }
    booster = xgboost.train(parameters, xgboost.QuantileDMatrix(ROWS, LABELS, max_bin=max_bin, nthread=1), 20)
    found = trees.of_xgboost(booster)
    assert found is not None
    scores = found.predict(ASKED)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, booster.inplace_predict(ASKED))


@pytest.mark.parametrize(
    "parameters",
    [{}, {"max_bin": 8191, "num_leaves": 7}, {"zero_as_missing": True}, {"use_missing": False}],
    ids=["plain", "bins", "zero is missing", "nothing is missing"],
)
def test_lightgbm_is_walked_as_it_walks_itself(parameters: dict[str, Any]) -> None:
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, **parameters}
    booster = lightgbm.train(settings, lightgbm.Dataset(ROWS, LABELS, params=settings), 40)
    found = trees.of_lightgbm(booster)
    assert found is not None
    np.testing.assert_array_equal(found.predict(ASKED), booster.predict(ASKED))


def test_trees_that_are_a_single_leaf() -> None:
    constant = np.zeros((200, 3), np.float32)
    labels = np.repeat([0, 1], 100).astype(np.float32)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(constant, labels), 3)
    found = trees.of_lightgbm(booster)
    assert found is not None
    np.testing.assert_array_equal(found.predict(constant), booster.predict(constant))
    stump = xgboost.train({"objective": "binary:logistic", "max_depth": 1}, xgboost.DMatrix(constant, labels), 3)
    short = trees.of_xgboost(stump)
    assert short is not None
    np.testing.assert_array_equal(short.predict(constant), stump.inplace_predict(constant))


@pytest.mark.parametrize("algorithm", [XGBoost(rounds=20), LightGBM(rounds=20)], ids=lambda algorithm: algorithm.kind)
def test_one_row_gets_the_score_that_it_gets_in_a_table(algorithm: Algorithm) -> None:
    part = ArrayPart(ROWS, LABELS)
    model = algorithm.fit(Data(part, part, tuple("abcdef")), LocalWorker())
    assert isinstance(model, (XGBoostModel, LightGBMModel)) and model.trees
    table = model.predict(ROWS)  # too many rows for the compiled trees
    alone = np.concatenate([model.predict(ROWS[place : place + 1]) for place in range(500)])
    np.testing.assert_array_equal(alone, table[:500])
    infinite = ROWS[:1].copy()
    infinite[0, 0] = np.inf
    unknown = ROWS[:1].copy()
    unknown[0, 0] = np.nan
    np.testing.assert_array_equal(model.predict(infinite), model.predict(unknown))


def test_what_is_not_known_stays_with_the_library() -> None:
    kinds = RANDOM.integers(0, 5, (500, 1)).astype(np.float32)
    labels = (kinds[:, 0] % 2).astype(np.float32)
    data = xgboost.DMatrix(kinds, labels, feature_types=["c"], enable_categorical=True)
    categorical = xgboost.train({"objective": "binary:logistic", "tree_method": "hist"}, data, 2)
    assert trees.of_xgboost(categorical) is None
    assert trees.of_xgboost(xgboost.train({"objective": "reg:squarederror"}, xgboost.DMatrix(kinds, labels), 2)) is None
    grouped = lightgbm.Dataset(kinds, labels, categorical_feature=[0])
    assert trees.of_lightgbm(lightgbm.train({"objective": "binary", "verbosity": -1}, grouped, 2)) is None
