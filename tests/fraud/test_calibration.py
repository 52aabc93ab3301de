"""Calibration gives probabilities that are right, monotone and small enough to travel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.fraud import calibration


def drawn(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that overstate: the true probability is the square of the score."""
    generator = np.random.default_rng(seed)
    scores = generator.beta(1, 6, rows)
    truth = scores**2
    return scores, generator.random(rows) < truth, truth


@pytest.mark.parametrize("method", ["isotonic", "platt", "auto"])
def test_probabilities_come_close_to_the_truth(method: calibration.Method) -> None:
    scores, labels, _ = drawn(60_000)
    fitted = calibration.fit(scores, labels, method)
    fresh, happened, truth = drawn(60_000, seed=1)
    assert np.abs(fitted.apply(fresh) - truth).mean() < 0.006
    assert calibration.ece(fitted.apply(fresh), happened) < calibration.ece(fresh, happened) / 5


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80),
    st.sampled_from(["isotonic", "platt", "auto"]),
)
def test_points_rise_and_are_few(rows: list[tuple[float, bool]], method: calibration.Method) -> None:
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    fitted = calibration.fit(scores, labels, method)
    assert len(fitted.score) == len(fitted.probability) <= 2 * calibration.POINTS
    assert all(np.diff(fitted.score) > 0)
    assert all(np.diff(fitted.probability) >= 0)
    applied = fitted.apply(np.linspace(0, 1, 11))
    assert ((applied >= 0) & (applied <= 1)).all()


def test_one_class_leaves_scores_as_they_are() -> None:
    fitted = calibration.fit(np.array([0.1, 0.9]), np.array([0, 0]))
    assert fitted.apply(np.array([0.3]))[0] == pytest.approx(0.3)


def test_the_error_is_the_mean_gap_of_fifteen_bins() -> None:
    generator = np.random.default_rng(2)
    probabilities, labels = generator.random(4_000), generator.random(4_000) < 0.3
    expected = 0.0
    for low in range(calibration.ECE_BINS):
        inside = (probabilities * 15 >= low) & (probabilities * 15 < low + 1)
        expected += abs(probabilities[inside].sum() - labels[inside].sum()) / 4_000
    assert calibration.ece(probabilities, labels) == pytest.approx(expected)


def test_bins_are_summed_by_day() -> None:
    days = np.array([0, 0, 1])
    found = calibration.reliability(np.array([0.2, 0.9, 0.9]), np.array([0, 1, 0]), days, 2)
    assert found.ece(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))[:2] == pytest.approx([0.15, 0.9])
    assert found.bins() == [(pytest.approx(0.2), 0.0, 1), (pytest.approx(0.9), 0.5, 2)]
