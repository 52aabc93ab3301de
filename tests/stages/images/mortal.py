"""An image classifier whose first worker is killed, once, when it is asked for a checkpoint in the middle of an epoch.

`python -m tests.stages.images.mortal FEATURES DIARY ROOT SETTINGS CONFIG` is the command of such a fit in a process of its
own: there, that process is what is killed, also where the fit runs on workers.
"""

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
OURS = "checkpoint.json"  # what notes the checkpoint of a fit in the process of the command


class Mortal(ImageClassifier):
    """Kills `victim`, or itself where there is none, at the `fatal`th question, counted from 1, when a checkpoint has been
    noted below `diary`; that also notes each life: resumed or fresh."""

    kind: Literal["mortal"] = "mortal"  # type: ignore[assignment]
    fatal: int = 2
    diary: str = ""
    victim: int = 0

    def fit(self, data: Data, worker: Worker) -> ImageModel:
        image_fit._ASK = 0.0  # asked at every look: by the clock, a fast machine is done before it is asked twice
        if not worker.rank:
            with (Path(self.diary) / "lives").open("a") as stream:
                stream.write("resumed\n" if worker.resume else "fresh\n")
        return super().fit(data, _Dying(worker, self))


class _Dying:
    """The worker, but for its death."""

    def __init__(self, worker: Worker, fate: Mortal) -> None:
        self._worker, self._fatal, self._victim, self._asked = worker, fate.fatal, fate.victim or os.getpid(), 0
        self._struck = Path(fate.diary) / "struck"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def wants_checkpoint(self) -> bool:
        self._asked += 1
        if self._worker.rank == 0 and self._asked == self._fatal and not self._struck.exists():
            self._struck.touch()
            _wait_for_checkpoint(self._struck.parent)
            os.kill(self._victim, signal.SIGKILL)
            time.sleep(
                600
            )  # a worker whose command was killed: Ray has to end it, or there is no room for the next fit
        return self._worker.wants_checkpoint()


def _wait_for_checkpoint(root: Path) -> None:
    for _ in range(600):
        noted = any('"checkpoint_dir_name"' in record.read_text() for record in root.rglob(RECORD))
        if noted or any(root.rglob(OURS)):
            return
        time.sleep(0.1)
    raise TimeoutError("no checkpoint is noted")


if __name__ == "__main__":
    import json
    import sys

    from ray_mlops.contract import ImageFeatures
    from ray_mlops.platform import runtime
    from ray_mlops.stages import train
    from tests.small_images import DECISION, a_run
    from tests.stages.images.mortal import Mortal

    features, diary, root, settings, config = sys.argv[1:]
    runtime.connect()
    train.run(
        train.TrainConfig.model_validate_json(config),
        a_run(Path(root), "train"),
        features=ImageFeatures.model_validate_json(Path(features).read_text()),
        decision=DECISION,
        algorithm=Mortal(diary=diary, victim=os.getpid(), **json.loads(settings)),
    )
