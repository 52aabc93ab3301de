"""The examiner passes a sound algorithm of a user and names the fault of a broken one."""

from typing import Any, ClassVar

import numpy as np
import pytest

from ray_mlops.algorithms.examiner import check_algorithm
from ray_mlops.contract import Choice, Data, Model, Space, Worker
from ray_mlops.errors import ConfigError
from tests.own_algorithm import LargeAmounts, LargeAmountsModel


def test_a_sound_algorithm_passes() -> None:
    check_algorithm(LargeAmounts(), additive=True)


class Broken(LargeAmounts):
    """The sound algorithm with a model that has one fault."""

    faults: ClassVar[dict[str, Any]] = {}

    def fit(self, data: Data, worker: Worker) -> Any:
        model = super().fit(data, worker)
        return type("Faulty", (LargeAmountsModel,), self.faults)(model.steepness, model.typical)


class Forgetful(LargeAmounts):
    def load(self, path: str) -> LargeAmountsModel:
        return LargeAmountsModel(1.0, 1.0)


class Vandal(LargeAmounts):
    def fit(self, data: Data, worker: Worker) -> LargeAmountsModel:
        model = super().fit(data, worker)
        data.train.arrays()[0][:, 0] = 0
        return model


class Moody(LargeAmounts):
    def fit(self, data: Data, worker: Worker) -> LargeAmountsModel:
        return LargeAmountsModel(self.steepness, float(np.random.default_rng().random() + 1))


class Seeker(LargeAmounts):
    def space(self) -> Space:
        return {"steepness": Choice(values=("very",))}


def with_fault(name: str, method: Any) -> LargeAmounts:
    return type("Faulty", (Broken,), {"faults": {name: method}, "__module__": __name__})()


def predicted(model: Model, batch: np.ndarray) -> np.ndarray:
    return LargeAmountsModel.predict(model, batch)  # pyright: ignore[reportArgumentType]


def spoilt(model: Model, batch: np.ndarray) -> np.ndarray:
    scores = predicted(model, batch)
    batch[:] = 0
    return scores


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (
            with_fault("predict", lambda model, batch: predicted(model, batch)[:, None]),
            r"shape \(667, 1\) for 667 rows",
        ),
        (with_fault("predict", lambda model, batch: predicted(model, batch) * 2), r"outside \[0, 1\]"),
        (with_fault("predict", lambda model, batch: np.full(len(batch), 0.5)), "learnt nothing"),
        (with_fault("predict", spoilt), "changed the batch"),
        (with_fault("predict", lambda model, batch: 0 * batch[:, 2] + predicted(model, batch)), "NaN or infinite"),
        (with_fault("explain", lambda model, batch: np.zeros(len(batch))), "explain\\(\\) gave shape"),
        (with_fault("explain", lambda model, batch: np.zeros(batch.shape)), "miss the log-odds"),
        (Forgetful(), "scores differently from the saved one"),
        (Vandal(), "changed the data"),
        (Moody(), "two fits with one seed"),
        (Seeker(), "steepness: .*valid number"),
    ],
)
def test_a_fault_is_named(algorithm: LargeAmounts, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_algorithm(algorithm, additive=True)
