"""Standardised inputs against scikit-learn."""

import numpy as np
from sklearn.preprocessing import StandardScaler

from ray_mlops.algorithms.standard import Standard
from ray_mlops.algorithms.worker import LocalWorker


def test_it_is_what_scikit_learn_measures_where_values_are_missing() -> None:
    random = np.random.default_rng(0)
    features = random.normal(100, 5, size=(500, 3)).astype(np.float32)
    features[random.random(features.shape) < 0.2] = np.nan
    found, reference = Standard.fit(features, LocalWorker()), StandardScaler().fit(features.astype(np.float64))
    assert np.allclose(found.mean, np.asarray(reference.mean_))
    assert np.allclose(found.scale, np.asarray(reference.scale_))
    assert np.allclose(found.apply(features), np.nan_to_num(reference.transform(features)), atol=1e-5)


def test_constant_empty_and_infinite_features_stay_finite() -> None:
    features = np.full((50, 3), [1e6 / 3, np.nan, 1.0], dtype=np.float32)
    features[0, 2] = np.inf
    found = Standard.fit(features, LocalWorker())
    assert found.scale.tolist() == [1.0, 1.0, 1.0]
    assert np.allclose(found.apply(features), 0, atol=1e-1)
    assert np.isfinite(found.apply(features)).all()
