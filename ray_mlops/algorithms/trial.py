"""One trial of a search: a fit that tells each verdict, and its outcome, to whoever searches."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ray_mlops.algorithms.worker import LocalWorker, validation_metrics
from ray_mlops.contract import PROGRESS, Algorithm, Data


class Tell(Protocol):
    """Where a trial's verdicts go: those of its `report`s, counted from 1, and then a `final` one or an `error`.

    A final verdict is that of a fit which is `over`, or of one that pauses and may go on from its checkpoint.
    """

    def __call__(
        self, value: float, *, seconds: float, report: int = 0, final: bool = False, over: bool = True, error: str = ""
    ) -> None: ...


class Paused(Exception):
    """The turn of a trial is over and its fit is not."""


@dataclass
class TrialWorker(LocalWorker):
    """A worker that tells the `metric` of each verdict, and pauses after `turn` of them when the fit goes further.

    `before` is the number of verdicts of the turns before; `keep` takes the folder of the checkpoint to go on from.
    """

    metric: str = ""
    tell: Tell | None = None
    turn: int = 0
    before: int = 0
    keep: Callable[[str], None] | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long the trial has run."""
        return time.monotonic() - self.started

    def report(self, metrics: Mapping[str, float], checkpoint: str | None = None) -> None:
        """Tell the verdict; raises `Paused` when it is the last of the turn."""
        if self.metric not in metrics or self.tell is None:
            return
        super().report(metrics)
        self.tell(metrics[self.metric], report=self.before + len(self.reports), seconds=self.seconds)
        unfinished = metrics.get(PROGRESS, 1.0) < 1.0
        if self.keep and checkpoint and self.turn and len(self.reports) >= self.turn and unfinished:
            self.keep(checkpoint)
            raise Paused


def attempt(candidate: Callable[[], Algorithm], data: Data, worker: TrialWorker) -> None:
    """Fit on `worker` and tell how it ended; a setting that cannot be fitted is told, not raised."""
    assert worker.tell is not None
    try:
        model = candidate().fit(data, worker)
        features, labels = data.validation.arrays()
        value = validation_metrics(labels, np.asarray(model.predict(features)))[worker.metric]
    except Paused:
        worker.tell(worker.reports[-1][worker.metric], final=True, over=False, seconds=worker.seconds)
    except Exception as error:  # noqa: BLE001 - one setting that cannot be fitted does not end the search
        worker.tell(0.0, seconds=worker.seconds, error=f"{type(error).__name__}: {error}")
    else:
        worker.tell(value, final=True, seconds=worker.seconds)
