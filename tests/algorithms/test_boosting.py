"""Boosting on whole rows: the far tail, threads, early stopping, one row."""

import numpy as np
import pytest

from ray_mlops.algorithms.boosting import LightGBM, XGBoost
from ray_mlops.algorithms.examiner import check_algorithm, examination_data
from ray_mlops.algorithms.worker import LocalWorker, validation_metrics
from ray_mlops.contract import Algorithm, Data
from ray_mlops.platform.parts import ArrayPart

BOTH = [XGBoost(rounds=30), LightGBM(rounds=30)]


@pytest.mark.parametrize(
    "algorithm",
    [*BOTH, XGBoost(rounds=20, subsample=0.6, colsample=0.6), LightGBM(rounds=20, subsample=0.6, colsample=0.6)],
    ids=["xgboost", "lightgbm", "xgboost-sampled", "lightgbm-sampled"],
)
def test_the_examiner_is_content(algorithm: Algorithm) -> None:
    check_algorithm(algorithm, additive=True)


def tail() -> Data:
    """Amounts of which the highest few in a thousand are fraud, with honest ones just below them."""
    random = np.random.default_rng(1)
    amounts = np.exp(random.normal(3.0, 1.0, 60_000)).astype(np.float32)
    labels = (amounts > np.quantile(amounts, 0.9985)).astype(np.float32)
    features = np.column_stack([amounts, random.normal(size=60_000).astype(np.float32)])
    return Data(
        ArrayPart(features[:40_000], labels[:40_000]), ArrayPart(features[40_000:], labels[40_000:]), ("a", "b")
    )


@pytest.mark.parametrize("algorithm", BOTH, ids=lambda algorithm: algorithm.kind)
def test_the_defaults_see_into_the_far_tail(algorithm: XGBoost | LightGBM) -> None:
    data = tail()
    features, labels = data.validation.arrays()

    def average_precision(fitted: Algorithm) -> float:
        return validation_metrics(labels, fitted.fit(data, LocalWorker()).predict(features))["average_precision"]

    coarse = average_precision(algorithm.model_copy(update={"max_bin": 255}))
    assert average_precision(algorithm) > max(0.97, coarse)


@pytest.mark.parametrize("algorithm", BOTH, ids=lambda algorithm: algorithm.kind)
def test_the_number_of_threads_changes_nothing(algorithm: Algorithm) -> None:
    data = examination_data()
    batch = data.validation.arrays()[0]
    one, two = (algorithm.fit(data, LocalWorker(threads=threads)).predict(batch) for threads in (1, 2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("kind", [XGBoost, LightGBM])
def test_patience_keeps_the_best_rounds(kind: type[XGBoost] | type[LightGBM]) -> None:
    data = examination_data()
    worker = LocalWorker()
    model = kind(rounds=2000, learning_rate=0.5, patience=20).fit(data, worker)
    features, labels = data.validation.arrays()
    values = [metrics["average_precision"] for metrics in worker.reports]
    assert len(values) < 100
    assert validation_metrics(labels, model.predict(features))["average_precision"] == pytest.approx(max(values))
