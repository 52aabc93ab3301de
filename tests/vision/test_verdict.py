"""The four answers to whether a model is needed."""

import numpy as np
import pytest

from ray_mlops.vision.candidates import Candidate
from ray_mlops.vision.verdict import Bar, after_contest, before_contest

RANDOM = np.random.default_rng(0)


def contest(rows: int, **accuracies: float) -> tuple[list[Candidate], np.ndarray]:
    """Candidates that are right as often as said, for labels of four classes."""
    labels = np.arange(rows) % 4
    found = []
    for kind in ("majority", "mean_colour", "nearest", "linear", "network"):
        right = RANDOM.permutation(rows) < round(rows * accuracies.get(kind, 0.25))
        predicted = np.where(right, labels, (labels + 1) % 4)
        found.append(Candidate(kind, f"looks at {kind}", predicted if kind != "majority" else np.zeros(rows, int)))
    return found, labels


@pytest.mark.parametrize(
    ("rows", "accuracies", "answer"),
    [
        (500, {"nearest": 0.7, "linear": 0.9, "network": 0.95}, "use_ml"),
        (2000, {"nearest": 0.9, "linear": 0.9, "network": 0.9}, "no_ml"),
        (2000, {"nearest": 0.95, "linear": 0.8, "network": 0.85}, "no_ml"),
        (60, {"nearest": 0.70, "linear": 0.7, "network": 0.78}, "collect_more"),
        (400, {"nearest": 0.25, "linear": 0.25, "network": 0.26}, "redefine"),
    ],
)
def test_the_answer_follows_from_who_is_right_how_often(rows: int, accuracies: dict[str, float], answer: str) -> None:
    found, labels = contest(rows, **accuracies)
    judgement = after_contest(found, labels, Bar(), seed=0)
    assert judgement.answer == answer, judgement
    assert judgement.reasons and judgement.hints


def test_a_linear_model_that_is_as_good_is_recommended() -> None:
    found, labels = contest(500, nearest=0.5, linear=0.97, network=0.95)
    assert "small network will do" in after_contest(found, labels, Bar(), seed=0).hints[0]
    found, labels = contest(500, nearest=0.5, linear=0.8, network=0.95)
    assert "start with a network" in after_contest(found, labels, Bar(), seed=0).hints[0]


def test_some_answers_take_no_contest() -> None:
    labels = np.repeat([0, 1], [500, 4])
    one = before_contest(Bar(), ("a",), labels * 0)
    few = before_contest(Bar(), ("a", "b"), labels)
    absent = before_contest(Bar(), ("a", "b", "c"), labels)
    assert one and one.answer == "redefine" and "'a'" in one.reasons[0]
    assert few and few.answer == "collect_more" and "'b' has 4" in few.reasons[0]
    assert absent and "'c' has 0" in absent.reasons[0]
    assert before_contest(Bar(min_per_class=4), ("a", "b"), labels) is None
