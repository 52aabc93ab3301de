"""An algorithm of a user's that takes its time, asks for checkpoints, and notes where each step was done."""

import json
import tempfile
import time
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from ray_mlops.contract import Backend, Data, Frozen, Space, Worker


class Patient(Frozen):
    """`steps` steps of `pause` seconds; a line in `diary` for each of the first worker: step, workers, fresh or resumed.

    A worker that is alone waits after step `alone` until there is the file `diary` + ".go".
    """

    kind: Literal["patient"] = "patient"
    steps: int = 30
    pause: float = 0.5
    diary: str = ""
    alone: int | None = None

    backend: ClassVar[Backend] = "torch"

    def space(self) -> Space:
        return {}

    def fit(self, data: Data, worker: Worker) -> "Counted":
        done = self.load(worker.resume).done if worker.resume else 0
        while done < self.steps:
            self._wait(done, worker)
            time.sleep(self.pause)
            done += 1
            if not worker.rank:
                with Path(self.diary).open("a") as stream:
                    stream.write(f"{done} {worker.size} {'resumed' if worker.resume else 'fresh'}\n")
            if worker.size > 1 or worker.wants_checkpoint():
                self._report(done, worker)
        return Counted(done)

    def _wait(self, done: int, worker: Worker) -> None:
        kept = False
        while done == self.alone and worker.size == 1 and not Path(self.diary + ".go").exists():
            time.sleep(0.1)
            if not kept and worker.wants_checkpoint():
                self._report(done, worker)
                kept = True

    def _report(self, done: int, worker: Worker) -> None:
        metrics = {"progress": done / self.steps}
        if worker.rank:
            worker.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            Counted(done).save(folder)
            worker.report(metrics, folder)

    def load(self, path: str) -> "Counted":
        return Counted(json.loads((Path(path) / "model.json").read_text()))


class Counted:
    """The number of steps taken; scores by the first column."""

    def __init__(self, done: int) -> None:
        self.done = done

    def predict(self, batch: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.nan_to_num(batch[:, 0]) / 100))

    def explain(self, batch: np.ndarray) -> np.ndarray:
        return np.nan_to_num(batch)

    def save(self, path: str) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        (Path(path) / "model.json").write_text(json.dumps(self.done))


def diary(path: Path) -> list[tuple[int, int, str]]:
    """What was done: (step, workers, fresh or resumed)."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(int(step), int(size), way) for step, size, way in lines]
