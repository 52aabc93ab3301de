"""What earlier searches found is tried again, where it still fits, and the same after a kill."""

from pathlib import Path
from typing import Any

from ray_mlops.contract import Choice, Run, Space, Uniform
from ray_mlops.platform import studies

SPACE: Space = {"rate": Uniform(low=0.01, high=1.0, log=True), "shape": Choice(values=((8,), (16, 8)))}


def a_run(root: Path, name: str, recipe: str = "fraud") -> Run:
    return Run(root=str(root), id="r", recipe=recipe, uri=str(root / name), fingerprint=name)


def noted(root: Path, name: str, settings: dict[str, Any], value: float, **other: str) -> None:
    studies.note(a_run(root, name, **other), "mlp", settings, value=value)


def test_the_best_of_the_same_recipe_come_first_and_none_twice(tmp_path: Path) -> None:
    noted(tmp_path, "a", {"rate": 0.1, "shape": (8,)}, 0.5)
    noted(tmp_path, "b", {"rate": 0.3, "shape": (16, 8)}, 0.9)
    noted(tmp_path, "c", {"rate": 0.1, "shape": (8,)}, 0.4)
    noted(tmp_path, "d", {"rate": 0.2, "shape": (8,)}, 0.99, recipe="vision")
    run = a_run(tmp_path, "now")
    assert studies.earlier(run, "mlp", SPACE, count=5) == [
        {"rate": 0.3, "shape": (16, 8)},
        {"rate": 0.1, "shape": (8,)},
    ]
    assert studies.earlier(a_run(tmp_path, "one"), "mlp", SPACE, count=1) == [{"rate": 0.3, "shape": (16, 8)}]
    assert studies.earlier(a_run(tmp_path, "other"), "xgboost", SPACE, count=5) == []


def test_what_the_space_no_longer_has_is_left_out(tmp_path: Path) -> None:
    noted(tmp_path, "a", {"rate": 2.0, "shape": (8,)}, 0.9)
    noted(tmp_path, "b", {"rate": 0.1, "shape": (99,)}, 0.8)
    noted(tmp_path, "c", {"rate": 0.1}, 0.7)
    noted(tmp_path, "d", {"rate": "fast", "shape": (8,)}, 0.6)
    noted(tmp_path, "e", {"rate": 1.0, "shape": (8,)}, 0.1)
    assert studies.earlier(a_run(tmp_path, "now"), "mlp", SPACE, count=9) == [{"rate": 1.0, "shape": (8,)}]


def test_a_search_never_learns_from_itself_and_chooses_once(tmp_path: Path) -> None:
    noted(tmp_path, "a", {"rate": 0.1, "shape": (8,)}, 0.5)
    noted(tmp_path, "now", {"rate": 0.9, "shape": (8,)}, 0.99)
    run = a_run(tmp_path, "now")
    first = studies.earlier(run, "mlp", SPACE, count=3)
    assert first == [{"rate": 0.1, "shape": (8,)}]
    noted(tmp_path, "later", {"rate": 0.7, "shape": (8,)}, 0.7)
    assert studies.earlier(run, "mlp", SPACE, count=3) == first
