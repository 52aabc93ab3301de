"""The four answers to whether a network is needed."""

import numpy as np
import pytest

from ray_mlops.vision.candidates import NETWORK, SIMPLE
from ray_mlops.vision.verdict import Bar, Draws, Standing, after_contest, before_contest


def contest(rows: int, **accuracies: float) -> dict[str, Standing]:
    """Candidates that are right as often as said, each on rows of its own."""
    random, found = np.random.default_rng(0), {}
    for candidate in (*SIMPLE.values(), NETWORK):
        right = random.permutation(rows) < round(rows * accuracies.get(candidate.kind, 0.25))
        found[candidate.kind] = Standing(candidate, right, {"accuracy": float(right.mean())})
    return found


@pytest.mark.parametrize(
    ("rows", "accuracies", "answer"),
    [
        (500, {"nearest": 0.7, "linear": 0.9, "network": 0.97}, "use_ml"),
        (2000, {"nearest": 0.9, "linear": 0.9, "network": 0.9}, "no_ml"),
        (2000, {"nearest": 0.95, "linear": 0.8, "network": 0.85}, "no_ml"),
        (60, {"nearest": 0.70, "linear": 0.7, "network": 0.78}, "collect_more"),
        (400, {"nearest": 0.25, "linear": 0.25, "network": 0.26}, "redefine"),
    ],
)
def test_the_answer_follows_from_what_is_right(rows: int, accuracies: dict[str, float], answer: str) -> None:
    judgement = after_contest(contest(rows, **accuracies), Draws(np.arange(rows), 300, 0), Bar())
    assert judgement.answer == answer and judgement.reasons


def test_one_unit_alone_decides_nothing() -> None:
    found = Draws(np.zeros(50), 100, 0).mean(np.ones(50), 0.95)
    assert (found.value, found.low, found.high) == (1.0, -1.0, 1.0)


def test_images_of_one_unit_count_as_one() -> None:
    values = np.repeat(np.arange(20) % 2, 10).astype(float)
    wide, narrow = (Draws(units, 300, 0).mean(values, 0.95) for units in (np.repeat(np.arange(20), 10), np.arange(200)))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@pytest.mark.parametrize(
    ("images", "judged", "conflicting", "answer"),
    [
        ({"a": 30, "b": 30}, {"a": 8, "b": 8}, 0.0, None),
        ({"a": 30, "b": 10}, {"a": 8, "b": 8}, 0.0, "collect_more"),
        ({"a": 30, "b": 30}, {"a": 8, "b": 1}, 0.0, "collect_more"),
        ({"a": 30, "b": 30}, {"a": 8, "b": 8}, 0.2, "redefine"),
    ],
)
def test_too_few_or_torn_labels_need_no_contest(images, judged, conflicting: float, answer: str | None) -> None:
    found = before_contest(Bar(), images=images, judged=judged, conflicting=conflicting)
    assert (found and found.answer) == answer
