"""Algorithms as values: described in JSON, restored by kind or from a user's file, changed one setting at a time."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from ray_mlops.algorithms import ALGORITHMS, describe, restore, source_file, with_settings
from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.algorithms.mlp import MLP
from ray_mlops.contract import Algorithm
from ray_mlops.errors import ConfigError
from tests import own_algorithm
from tests.own_algorithm import LargeAmounts, LargeAmountsModel


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_ours_survive_the_way_through_json(kind: str) -> None:
    algorithm = ALGORITHMS[kind]()
    assert isinstance(algorithm, Algorithm)
    assert algorithm.kind == kind
    assert restore(json.loads(json.dumps(describe(algorithm)))) == algorithm


def test_a_users_class_is_restored_from_its_file(tmp_path: Path) -> None:
    mine = LargeAmounts(steepness=3.0)
    assert source_file(mine) == Path(own_algorithm.__file__)
    assert source_file(XGBoost()) is None
    shutil.copy(own_algorithm.__file__, tmp_path)
    found = restore(json.loads(json.dumps(describe(mine))), code_dir=str(tmp_path))
    assert describe(found)["class"] == "own_algorithm.py:LargeAmounts"
    assert (found.kind, found.model_dump()) == ("large_amounts", mine.model_dump())  # pyright: ignore
    LargeAmountsModel(3.0, 100.0).save(str(tmp_path / "model"))
    assert found.load(str(tmp_path / "model")).predict(np.array([[100.0]])) == pytest.approx(0.5)


def test_one_file_is_imported_once(tmp_path: Path) -> None:
    shutil.copy(own_algorithm.__file__, tmp_path)
    one, other = (restore(describe(LargeAmounts()), code_dir=str(tmp_path)) for _ in range(2))
    assert type(one) is type(other)


def test_settings_are_replaced_and_validated() -> None:
    assert with_settings(MLP(), {"hidden": [32, 16]}) == MLP(hidden=(32, 16))
    assert with_settings(XGBoost(max_depth=3), {}) == XGBoost(max_depth=3)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"kind": "xgbost"}, "did you mean xgboost"),
        ({"kind": "oracle"}, "choose xgboost, lightgbm, logistic, mlp"),
        ({"kind": "xgboost", "max_dept": 3}, "did you mean max_depth"),
        ({"kind": "xgboost", "max_depth": 0}, "max_depth: .* greater than or equal to 1"),
        ({"kind": "mine", "class": "mine.py:Mine"}, "mine.py is missing"),
    ],
)
def test_what_cannot_be_restored_is_named(description: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        restore(description)


def test_a_file_without_the_class_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match=r"mine\.py in .* has no class Mine"):
        restore({"kind": "mine", "class": "mine.py:Mine"}, code_dir=str(tmp_path))


def test_an_algorithm_has_to_be_frozen() -> None:
    class Loose(BaseModel):
        kind: str = "loose"

    with pytest.raises(ConfigError, match="derive from ray_mlops.contract.Frozen"):
        describe(Loose())  # pyright: ignore
