"""The perceptron: what it learns, how it explains itself, its schedule, and steps shared by two workers."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_mlops.algorithms.debug_rules import DebugRules
from ray_mlops.algorithms.examiner import check_algorithm, examination_data
from ray_mlops.algorithms.mlp import MLP, log_loss, schedule
from ray_mlops.algorithms.worker import LocalWorker, validation_metrics
from ray_mlops.contract import Data
from ray_mlops.errors import TrainingError
from ray_mlops.platform.parts import ArrayPart

SMALL = MLP(hidden=(16, 8), epochs=6, batch_size=64)

# Two processes with a share of the rows each, joined as Ray Train joins them.
TOGETHER = """
import sys
from datetime import timedelta
import numpy as np
import torch.distributed as group
from ray_mlops.algorithms.examiner import examination_data
from ray_mlops.algorithms.linear import LogisticRegression
from ray_mlops.algorithms.mlp import MLP
from ray_mlops.algorithms.worker import LocalWorker
from ray_mlops.contract import Data
from ray_mlops.platform.parts import ArrayPart

rank, store, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
group.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60))
whole = examination_data()
features, labels = whole.train.arrays()
cut = len(labels) // 3  # uneven shares
share = slice(None, cut) if rank == 0 else slice(cut, None)
data = Data(ArrayPart(features[share], labels[share]), whole.validation, whole.names)
batch = whole.validation.arrays()[0]
algorithms = (LogisticRegression(), MLP(hidden=(16, 8), epochs=6, batch_size=64))
scores = [algorithm.fit(data, LocalWorker(rank=rank, size=2)).predict(batch) for algorithm in algorithms]
np.save(f"{out}/{rank}.npy", np.array(scores))
"""


@pytest.mark.parametrize("algorithm", [SMALL, MLP(hidden=(8,), epochs=5, batch_size=64, patience=2)])
def test_the_examiner_is_content(algorithm: MLP) -> None:
    check_algorithm(algorithm, additive=True)


def test_two_workers_with_uneven_shares_learn_together(tmp_path: Path) -> None:
    """Both end with the same model; the linear one is that of one worker, the network about as good."""
    from ray_mlops.algorithms.linear import LogisticRegression

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    commands = [[sys.executable, "-c", TOGETHER, str(rank), str(tmp_path / "store"), str(tmp_path)] for rank in (0, 1)]
    workers = [subprocess.Popen(command, env=environment) for command in commands]
    assert [worker.wait(timeout=200) for worker in workers] == [0, 0]
    one, other = (np.load(tmp_path / f"{rank}.npy") for rank in (0, 1))
    assert np.array_equal(one, other)
    data = examination_data()
    batch, labels = data.validation.arrays()
    assert np.allclose(one[0], LogisticRegression().fit(data, LocalWorker()).predict(batch), atol=1e-6)
    alone = validation_metrics(labels, SMALL.fit(data, LocalWorker()).predict(batch))["roc_auc"]
    assert validation_metrics(labels, one[1])["roc_auc"] == pytest.approx(alone, abs=0.02)


def test_contributions_are_measured_from_the_mean_row() -> None:
    data = examination_data()
    model = SMALL.fit(data, LocalWorker())
    batch = data.validation.arrays()[0]
    margin = np.log(model.predict(batch)) - np.log1p(-model.predict(batch))
    mean = model.predict(model.standard.mean[None].astype(np.float32))
    assert np.allclose(model.explain(batch).sum(axis=1), margin - np.log(mean / (1 - mean)), atol=1e-4)
    assert np.allclose(model.explain(batch)[:, 3], 0)  # the constant feature


def few_rows(features: Callable[[np.ndarray], np.ndarray], labels: Callable[[np.ndarray], np.ndarray]) -> Data:
    """400 rows of the examiner's data, whose training rows are changed."""
    whole = examination_data()
    given, told = (array[:400] for array in whole.train.arrays())
    return Data(ArrayPart(features(given), labels(told)), whole.validation, whole.names)


def same(array: np.ndarray) -> np.ndarray:
    return array


def by_chance(labels: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, len(labels)).astype(labels.dtype)


def separable() -> Data:
    """Rows told apart by the sign of a feature: large steps make a fit so sure of each that its sigmoids are flat."""
    first = examination_data().train.arrays()[0][:400, 0]
    return few_rows(same, lambda labels: (first > 0).astype(labels.dtype))


@pytest.mark.parametrize(
    ("change", "data", "reason"),
    [
        ({"debug": DebugRules(exploding=1e-6)}, few_rows(same, same), "the gradient explodes"),
        ({"hidden": (16,), "batch_size": 8, "epochs": 20, "learning_rate": 1.0}, separable(), "the gradient vanishes"),
        ({"learning_rate": 1e30}, few_rows(same, same), "became"),
        ({"learning_rate": 1e-12}, few_rows(same, same), "does not decrease"),
        ({"learning_rate": 3.0, "debug": DebugRules(dead=0.5)}, few_rows(same, same), "units of layer . are dead"),
        ({}, few_rows(np.zeros_like, same), "all inputs of the first batch are 0"),
        (
            {"hidden": (256, 256), "epochs": 60, "dropout": 0.0, "debug": DebugRules(overfitting=1.2, patience=1)},
            few_rows(same, by_chance),
            "memorises its rows",
        ),
    ],
)
def test_a_hopeless_fit_is_stopped_with_the_reason(change: dict[str, Any], data: Data, reason: str) -> None:
    with pytest.raises(TrainingError, match=reason):
        SMALL.model_copy(update=change).fit(data, LocalWorker())


def test_the_log_loss_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import log_loss as theirs

    labels, scores = np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.7, 1.0])
    assert log_loss(labels, scores) == pytest.approx(theirs(labels, scores))
    assert np.isnan(log_loss(labels, np.array([0.2, np.nan, 1.0])))


@given(st.floats(0, 1))
def test_the_learning_rate_stays_within_its_bounds(done: float) -> None:
    assert 0 <= schedule(done) <= 1


def test_the_learning_rate_rises_and_falls() -> None:
    assert schedule(0.0) < schedule(0.05) < schedule(0.1) > schedule(0.5) > schedule(1.0)
    assert schedule(0.1) == pytest.approx(1.0)
    assert schedule(1.0) == pytest.approx(0.0, abs=1e-9)
