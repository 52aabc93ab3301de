"""The `Worker` of the contract on Ray Train: what one worker of a fit is told, and how it reports."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from ray_mlops.contract import PROGRESS, Backend
from ray_mlops.platform import files
from ray_mlops.platform.cores import cores

SCORE = "score"
UNJUDGED = -1e9  # the score of a checkpoint between two verdicts, which ranks last; JSON has no infinity
PROGRESS_FILE = "progress.json"


def send(metrics: dict[str, float], checkpoint: str | None) -> None:
    """Hand metrics and the folder of a checkpoint to Ray, which copies it to the run root."""
    from ray import train

    train.report(metrics, checkpoint=train.Checkpoint.from_directory(checkpoint) if checkpoint else None)


def noticed() -> bool:
    """Whether Ray has been told that a node of this fit is about to go away."""
    from ray import train

    return train.get_preemption_info() is not None


@contextmanager
def resumed() -> Iterator[str | None]:
    """The local folder of the checkpoint that Ray Train goes on from, None at the first attempt."""
    from ray import train

    checkpoint = train.get_checkpoint()
    with checkpoint.as_directory() if checkpoint else nullcontext() as folder:
        yield folder


@dataclass
class RayWorker:
    """One worker. `uri` is the folder of the artifact that is being made, to which rank 0 writes how far the fit is.

    A checkpoint is due `checkpoint_seconds` after the last one, and once when there is notice that a node of the fit is
    going away; with `keep_judged` each one with a new verdict is kept as well. `figures` are the metrics reported last.
    """

    rank: int
    size: int
    device: str
    threads: int
    seed: int
    network: Mapping[str, Any]
    resume: str | None
    uri: str
    checkpoint_seconds: float
    keep_judged: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    send: Callable[[dict[str, float], str | None], None] = send
    noticed: Callable[[], bool] = noticed
    _kept: float = field(default_factory=time.monotonic)
    _promised: bool = False
    _saved_on_notice: bool = False

    def report(self, metrics: Mapping[str, float], checkpoint: str | None = None) -> None:
        """Tell the driver how far the fit is, and keep the checkpoint: on several workers always, on one when due."""
        if self.rank == 0 and PROGRESS in metrics:
            files.write_json(files.join(self.uri, PROGRESS_FILE), {PROGRESS: metrics[PROGRESS]})
        judged = [value for name, value in metrics.items() if name != PROGRESS]
        self.figures |= metrics
        # A report takes up to 0.2 s. On several workers all have to make it, and none knows the clock of the others.
        if self.size > 1 or self._promised or (self.keep_judged and judged) or self.wants_checkpoint():
            self.send({**metrics, SCORE: judged[0] if judged else UNJUDGED}, checkpoint)
            self._kept, self._promised = time.monotonic(), False

    def wants_checkpoint(self) -> bool:
        """Whether the last checkpoint is long ago, or a node is about to go away and none was made since the notice."""
        noticed = self.noticed()  # all ranks have to ask, whatever their clocks say
        overdue = time.monotonic() - self._kept >= self.checkpoint_seconds
        self._promised = overdue or (noticed and not self._saved_on_notice)
        self._saved_on_notice = self._saved_on_notice or noticed
        return self._promised


def device() -> str:
    """The device that Ray has given this worker: `cuda:N` where it has a GPU."""
    import ray

    if not ray.get_gpu_ids():
        return "cpu"
    from ray.train.torch import get_device

    return str(get_device())


def threads(cpus: float | None, neighbours: int) -> int:
    """How many threads a worker may use: its CPUs, or its share of the cores of a node with so many workers."""
    return max(1, int(cpus or cores() // neighbours))


def network(backend: Backend, size: int) -> Mapping[str, Any]:
    """The settings with which a distributed booster finds its peers."""
    if backend != "lightgbm" or size == 1:
        return {}
    from ray.train.lightgbm import get_network_params

    return get_network_params()
