"""An image classifier that takes its time after each epoch and notes where it was done."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.algorithms.image_model import ImageModel
from ray_mlops.algorithms.worker import ACCURACY
from ray_mlops.contract import Data, Worker


class Diarist(ImageClassifier):
    """A line in `diary` for each epoch of the first worker, as `Patient` writes them for its steps: epoch, workers, fresh or
    resumed. A worker that is alone waits after epoch `alone` until there is the file `diary` + ".go"."""

    kind: Literal["diarist"] = "diarist"  # type: ignore[assignment]
    widths: tuple[int, ...] = (16, 32, 32)
    batch_size: int = 64
    epochs: int = 16
    pause: float = 0.5
    diary: str = ""
    alone: int | None = None

    def fit(self, data: Data, worker: Worker) -> ImageModel:
        return super().fit(data, worker if worker.rank else _Noted(worker, self))


class _Noted:
    """The first worker, but for what it notes and waits for."""

    def __init__(self, worker: Worker, author: Diarist) -> None:
        self._worker, self._author, self._path = worker, author, Path(author.diary)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def report(self, metrics: Mapping[str, float], checkpoint: str | None = None) -> None:
        self._worker.report(metrics, checkpoint)
        if ACCURACY not in metrics:  # a checkpoint in the middle of an epoch
            return
        epoch, size = round(metrics["progress"] * self._author.epochs), self._worker.size
        with self._path.open("a") as stream:
            stream.write(f"{epoch} {size} {'resumed' if self._worker.resume else 'fresh'}\n")
        time.sleep(self._author.pause)
        while epoch == self._author.alone and size == 1 and not Path(f"{self._path}.go").exists():
            time.sleep(0.1)
