"""One number that makes probabilities honest."""

import numpy as np
import pytest

from ray_mlops.vision import metrics
from ray_mlops.vision.temperature import fitted, scaled

RANDOM = np.random.default_rng(1)


def sample(temperature: float, rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Honest probabilities of labels drawn from them, sharpened or softened."""
    honest = RANDOM.dirichlet(np.ones(5) * 0.5, rows)
    labels = np.array([RANDOM.choice(5, p=row) for row in honest])
    return scaled(honest, temperature), labels


@pytest.mark.parametrize("spoilt", [0.4, 1.0, 2.5])
def test_the_temperature_undoes_what_spoilt_the_probabilities(spoilt: float) -> None:
    probabilities, labels = sample(spoilt)
    found = fitted(probabilities, labels)
    assert found == pytest.approx(1 / spoilt, rel=0.12)
    after = metrics.calibration_error(scaled(probabilities, found), labels)
    assert after < 0.03


def test_no_ranking_changes_and_rows_sum_to_one() -> None:
    probabilities, _ = sample(1.0, rows=50)
    for temperature in (0.1, 5.0):
        found = scaled(probabilities, temperature)
        assert (found.argmax(axis=1) == probabilities.argmax(axis=1)).all()
        assert found.sum(axis=1) == pytest.approx(np.ones(50))


def test_certainty_stays_finite() -> None:
    assert np.isfinite(scaled(np.array([[1.0, 0.0]]), 0.05)).all()
    assert 0.05 <= fitted(np.array([[1.0, 0.0]] * 20), np.array([0] * 20)) <= 20
