"""The watch of a fit: when it judges, when it stops, and that a resumed one knows what the killed one knew."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from ray_mlops.algorithms.worker import LocalWorker, Watch, finite, sigmoid, validation_metrics

LABELS = np.array([0, 0, 1, 0, 1], dtype=np.float32)
GOOD, BAD = np.array([0.1, 0.2, 0.8, 0.3, 0.9]), np.array([0.9, 0.8, 0.1, 0.5, 0.2])


class Keeper(LocalWorker):
    """Keeps the last checkpoint in the folder it is going to resume from."""

    kept = ""

    def report(self, metrics: Mapping[str, float], checkpoint: str | None = None) -> None:
        super().report(metrics)
        if checkpoint:
            shutil.rmtree(self.kept, ignore_errors=True)
            shutil.copytree(checkpoint, self.kept)


def write_nothing(folder: str) -> None:
    """A model without a file."""


@given(st.integers(1, 500), st.none() | st.integers(1, 50))
def test_the_steps_end_with_the_last_one_and_are_not_many(total: int, patience: int | None) -> None:
    watch = Watch(LocalWorker(), LABELS, total, patience=patience)
    steps = []
    while not watch.stopped:
        assert watch.due > watch.done
        watch.judge(GOOD * (1 + len(steps)))
        steps.append(watch.done)
    assert steps == sorted(set(steps))
    if patience is None:
        assert steps[-1] == total
        assert len(steps) <= 20


def test_patience_counts_from_the_best_step() -> None:
    watch = Watch(LocalWorker(), LABELS, 100, patience=20)
    verdicts = [(watch.judge(scores), watch.stopped) for scores in (BAD, GOOD, BAD, BAD)]
    assert verdicts == [(True, False), (True, False), (False, False), (False, True)]
    assert (watch.done, watch.best_step) == (40, 20)


def test_a_resumed_watch_goes_on(tmp_path: Path) -> None:
    worker = Keeper()
    worker.kept = str(tmp_path / "kept")
    watch = Watch(worker, LABELS, 100, patience=20)
    for scores in (GOOD, BAD):
        watch.judge(scores)
        watch.report(write_nothing)
    resumed = Watch(LocalWorker(resume=worker.kept), LABELS, 100, patience=20)
    assert (resumed.done, resumed.best_step, resumed.stopped) == (20, 10, False)
    resumed.judge(BAD)
    assert resumed.stopped
    assert [metrics["progress"] for metrics in worker.reports] == [0.1, 0.2]


def test_other_ranks_report_without_a_checkpoint(tmp_path: Path) -> None:
    worker = Keeper(rank=1, size=2)
    worker.kept = str(tmp_path / "kept")
    watch = Watch(worker, LABELS, 10)
    watch.judge(GOOD)
    watch.report(write_nothing)
    assert len(worker.reports) == 1
    assert not Path(worker.kept).exists()


def test_infinities_become_missing_and_the_batch_stays() -> None:
    batch = np.array([[1.0, np.inf], [-np.inf, np.nan]])
    assert np.array_equal(finite(batch), [[1.0, np.nan], [np.nan, np.nan]], equal_nan=True)
    assert np.isinf(batch).sum() == 2


def test_scores_are_judged_as_scikit_learn_does() -> None:
    found = validation_metrics(LABELS, BAD)
    assert found == {
        "average_precision": pytest.approx(average_precision_score(LABELS, BAD)),
        "roc_auc": pytest.approx(roc_auc_score(LABELS, BAD)),
    }


@given(st.floats(-1e4, 1e4))
def test_the_sigmoid_never_overflows(margin: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        assert 0 <= sigmoid(np.array([margin]))[0] <= 1
