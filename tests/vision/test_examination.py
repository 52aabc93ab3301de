"""The examination: gains paired by row, errors in order, pairs with their rows."""

import numpy as np
import pytest

from ray_mlops.vision.examination import Answers, Settings, examine, mistaken, pair_rows, robustness
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.transform import Transform
from tests.small_images import CentroidModel

NAMES = ("a", "b", "c")


def sure_of(places: list[int], sureness: list[float]) -> np.ndarray:
    found = np.array([[(1 - sure) / 2] * 3 for sure in sureness])
    found[np.arange(len(places)), places] = sureness
    return found


LABELS = np.array([0, 0, 1, 1, 2, 2])
ANSWERS = Answers(sure_of([0, 1, 1, 0, 2, 0], [0.9, 0.6, 0.8, 0.95, 0.7, 0.5]), LABELS)


def test_the_surest_errors_come_first() -> None:
    assert mistaken(ANSWERS, 10).tolist() == [3, 1, 5]
    assert mistaken(ANSWERS, 2).tolist() == [3, 1]


def test_pairs_have_the_rows_that_were_mixed_up() -> None:
    pairs = {(true, told): (count, rows.tolist()) for true, told, count, rows in pair_rows(ANSWERS, NAMES, Settings())}
    assert pairs == {(0, 1): (1, [1]), (1, 0): (1, [3]), (2, 0): (1, [5])}


def test_a_gain_over_the_champion_is_paired_and_nothing_without_one() -> None:
    worse = sure_of([1, 1, 0, 0, 2, 0], [0.9] * 6)
    found, details = examine(ANSWERS, NAMES, Settings(), champion=worse, seed=0)
    assert found["gain_over_champion"] == pytest.approx(2 / 6) and details["champion"]
    assert found["gain_over_champion_low"] <= found["gain_over_champion"]
    alone, _ = examine(ANSWERS, NAMES, Settings(), champion=None, seed=0)
    assert alone["gain_over_champion"] == 0.0
    assert alone["least_recall"] == 0.5 and alone["accuracy"] == 0.5


def test_robustness_measures_the_same_pictures_as_they_are_and_spoilt() -> None:
    means = np.stack([np.full((8, 8, 1), value, float) for value in (60, 120, 250)])
    predictor = ImagePredictor(CentroidModel(means, 1.0), Transform(size=(8, 8), mode="L"), NAMES)
    pixels = np.clip(means[LABELS] + np.random.default_rng(0).normal(0, 8, (6, 8, 8, 1)), 0, 255).astype(np.uint8)
    told = {(row["kind"], row["strength"]): row["accuracy"] for row in robustness(predictor, pixels, LABELS)}
    assert told["as it is", ""] == 1.0
    assert told["brightness", "x 0.5"] < 1.0
    assert robustness(predictor, pixels[:0], LABELS[:0]) == []
