"""An image classifier whose first worker is killed, once, when it is asked for a checkpoint in the middle of an epoch."""

import os
import signal
import time
from pathlib import Path
from typing import Any, Literal

from ray_mlops.algorithms import image_fit
from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.algorithms.image_model import ImageModel
from ray_mlops.contract import Data, Worker

RECORD = "checkpoint_manager_snapshot.json"  # Ray's list of the checkpoints of a fit


class Mortal(ImageClassifier):
    """Dies at the `fatal`th question, counted from 1, when Ray has noted a checkpoint below `diary`; that also notes each
    life: resumed or fresh."""

    kind: Literal["mortal"] = "mortal"  # type: ignore[assignment]
    fatal: int = 2
    diary: str = ""

    def fit(self, data: Data, worker: Worker) -> ImageModel:
        image_fit._ASK = 0.0  # asked at every look: by the clock, a fast machine is done before it is asked twice
        if not worker.rank:
            with (Path(self.diary) / "lives").open("a") as stream:
                stream.write("resumed\n" if worker.resume else "fresh\n")
        return super().fit(data, _Dying(worker, self.fatal, Path(self.diary) / "struck"))


class _Dying:
    """The worker, but for its death."""

    def __init__(self, worker: Worker, fatal: int, struck: Path) -> None:
        self._worker, self._fatal, self._struck, self._asked = worker, fatal, struck, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def wants_checkpoint(self) -> bool:
        self._asked += 1
        if self._worker.rank == 0 and self._asked == self._fatal and not self._struck.exists():
            self._struck.touch()
            _wait_for_checkpoint(self._struck.parent)
            os.kill(os.getpid(), signal.SIGKILL)
        return self._worker.wants_checkpoint()


def _wait_for_checkpoint(root: Path) -> None:
    for _ in range(600):
        if any('"checkpoint_dir_name"' in record.read_text() for record in root.rglob(RECORD)):
            return
        time.sleep(0.1)
    raise TimeoutError("Ray notes no checkpoint")
