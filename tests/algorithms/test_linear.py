"""Logistic regression against scikit-learn, on one worker and on several."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression as Reference
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ray_mlops.algorithms.examiner import check_algorithm, examination_data
from ray_mlops.algorithms.linear import LogisticRegression
from ray_mlops.algorithms.worker import LocalWorker


def test_the_examiner_is_content() -> None:
    check_algorithm(LogisticRegression(), additive=True)


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_the_optimum_is_that_of_scikit_learn(strength: float) -> None:
    data = examination_data()
    features, labels = data.train.arrays()
    batch = data.validation.arrays()[0]
    reference = make_pipeline(
        StandardScaler(), SimpleImputer(strategy="constant", fill_value=0.0), Reference(C=strength, max_iter=1000)
    ).fit(features, labels)
    model = LogisticRegression(C=strength).fit(data, LocalWorker())
    assert np.allclose(model.coefficients, reference[-1].coef_[0], atol=1e-6)
    assert np.allclose(model.predict(batch), reference.predict_proba(batch)[:, 1], atol=1e-6)


def test_contributions_are_zero_for_the_mean_row(tmp_path: Path) -> None:
    model = LogisticRegression().fit(examination_data(), LocalWorker())
    model.save(str(tmp_path / "model"))
    loaded = LogisticRegression().load(str(tmp_path / "model"))
    assert np.allclose(loaded.explain(loaded.standard.mean[None]), 0, atol=1e-6)
