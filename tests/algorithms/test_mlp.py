"""The perceptron: what it learns, how it explains itself, its schedule, and steps shared by two workers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_mlops.algorithms.examiner import check_algorithm, examination_data
from ray_mlops.algorithms.mlp import MLP, schedule
from ray_mlops.algorithms.worker import LocalWorker, validation_metrics

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


@given(st.floats(0, 1))
def test_the_learning_rate_stays_within_its_bounds(done: float) -> None:
    assert 0 <= schedule(done) <= 1


def test_the_learning_rate_rises_and_falls() -> None:
    assert schedule(0.0) < schedule(0.05) < schedule(0.1) > schedule(0.5) > schedule(1.0)
    assert schedule(0.1) == pytest.approx(1.0)
    assert schedule(1.0) == pytest.approx(0.0, abs=1e-9)
