"""The place a fit runs in: the plain in-process worker, and what every algorithm does alike on any worker."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ray_mlops.algorithms.ranking import ranking
from ray_mlops.contract import PROGRESS, Worker

AVERAGE_PRECISION = "average_precision"
ACCURACY, LOSS = "accuracy", "loss"
_STATE = "watch.json"


@dataclass
class LocalWorker:
    """A `Worker` in this process: the only one, on the CPU. `reports` are the metrics it was told, in order."""

    seed: int = 0
    threads: int = 1
    resume: str | None = None
    rank: int = 0
    size: int = 1
    device: str = "cpu"
    network: Mapping[str, Any] = field(default_factory=dict)
    reports: list[dict[str, float]] = field(default_factory=list)

    def report(self, metrics: Mapping[str, float], checkpoint: str | None = None) -> None:
        """Keep the metrics; the checkpoint is not needed in a process that dies with its fit."""
        self.reports.append(dict(metrics))

    def wants_checkpoint(self) -> bool:
        """Never: see `report`."""
        return False


def finite(batch: np.ndarray) -> np.ndarray:
    """The batch as float32 with NaN for what is missing or infinite; the batch itself stays as it is."""
    batch = np.asarray(batch, dtype=np.float32)
    unusable = np.isinf(batch)
    return np.where(unusable, np.float32(np.nan), batch) if unusable.any() else batch


def sigmoid(margin: np.ndarray) -> np.ndarray:
    """The score in [0, 1] of a margin (log-odds), float64, without overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(margin, dtype=np.float64)))


def validation_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """What a model is judged by, the decisive metric first.

    Of scores `(rows,)` for labels 0/1 of both classes, average precision and ROC AUC; of probabilities
    `(rows, classes)` for the places of the classes, accuracy and log loss.
    """
    if scores.ndim == 2:
        given = np.clip(scores[np.arange(len(labels)), labels.astype(np.int64)], 1e-12, 1.0)
        return {ACCURACY: float((scores.argmax(axis=1) == labels).mean()), LOSS: float(-np.log(given).mean())}
    counts, once = ranking(labels, scores), np.ones((1, 1))
    return {AVERAGE_PRECISION: float(counts.average_precision(once)[0]), "roc_auc": float(counts.roc_auc(once)[0])}


class Watch:
    """Follows a fit of `total` steps: judges and reports about ten times, and says when it is over.

    A fit does `done` to `due` steps, then calls `judge` (or `take`) and `report`. `stopped` is set after the last step
    or, with `patience`, when the first of the validation metrics has not risen for that many steps. Every rank is told
    the same metrics, so all ranks come to the same verdict without talking to each other.
    """

    def __init__(self, worker: Worker, labels: np.ndarray | None, total: int, *, patience: int | None = None) -> None:
        self.done, self.best_step, self.best_value, self.stopped = 0, 0, -np.inf, False
        self._worker, self._labels, self._total, self._patience = worker, labels, total, patience
        self._metrics: dict[str, float] = {}
        self._every = max(1, min(total // 10, patience or total))
        if worker.resume:
            state = json.loads((Path(worker.resume) / _STATE).read_text())
            self.done, self.stopped = state["done"], state["stopped"]
            self.best_step, self.best_value = state["best_step"], state["best_value"]
            self._metrics = state["metrics"]

    @property
    def due(self) -> int:
        """The number of steps after which to judge next."""
        return min(self._total, (self.done // self._every + 1) * self._every)

    def judge(self, scores: np.ndarray) -> bool:
        """Take note of the validation scores after `due` steps; whether they are the best so far."""
        assert self._labels is not None
        return self.take(validation_metrics(self._labels, scores))

    def take(self, metrics: Mapping[str, float], **others: float) -> bool:
        """Take note of the validation metrics after `due` steps; whether the first of them is the best so far.

        `others` are reported beside them.
        """
        self.done = self.due
        value = next(iter(metrics.values()))
        better = value > self.best_value
        if better:
            self.best_step, self.best_value = self.done, value
        tired = self._patience is not None and self.done - self.best_step >= self._patience
        self.stopped = tired or self.done == self._total
        self._metrics = {**metrics, **others, PROGRESS: self.done / self._total}
        return better

    def report(self, save: Callable[[str], None]) -> None:
        """Report what was judged last, with a checkpoint that `save` writes into a folder."""
        self._report(self._metrics, save)

    def keep(self, save: Callable[[str], None], *, steps: float) -> None:
        """Report the progress after `steps` steps, where nothing has been judged, for the sake of its checkpoint."""
        self._report({PROGRESS: steps / self._total}, save)

    def _report(self, metrics: Mapping[str, float], save: Callable[[str], None]) -> None:
        if self._worker.rank:
            self._worker.report(metrics)
            return
        names = ("done", "stopped", "best_step", "best_value")
        state = {**{name: getattr(self, name) for name in names}, "metrics": self._metrics}
        with tempfile.TemporaryDirectory() as folder:
            save(folder)
            (Path(folder) / _STATE).write_text(json.dumps(state))
            self._worker.report(metrics, folder)
