"""An algorithm of a user's that fits step by step, leaves checkpoints, and can be made to fail or die on its way."""

import json
import os
import signal
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ray_mlops.contract import Backend, Data, Frozen, Space, Uniform, Worker


class Stepwise(Frozen):
    """Gradient steps on the first features; `fate` strikes before step `fatal`, once per `diary` folder.

    Every step is noted in the diary, so that a test can tell what was done again.
    """

    kind: Literal["stepwise"] = "stepwise"
    rate: float = 0.5
    steps: int = 12
    fatal: int = -1
    fate: Literal["none", "raise", "kill", "always"] = "none"
    diary: str = ""

    backend: ClassVar[Backend] = "none"

    def space(self) -> Space:
        return {"rate": Uniform(low=0.01, high=2.0, log=True, live=True)}

    def fit(self, data: Data, worker: Worker) -> "StepwiseModel":
        features, labels = data.train.arrays()
        model = self.load(worker.resume) if worker.resume else StepwiseModel([0.0] * features.shape[1], 0)
        scale = np.abs(features).mean(axis=0) + 1e-9
        while model.done < self.steps:
            self._note(model.done, resumed=bool(worker.resume))
            residual = labels - model.predict(features)
            step = self.rate * (residual[:, None] * features / scale**2).mean(axis=0)
            model = StepwiseModel([float(w + s) for w, s in zip(model.weights, step, strict=True)], model.done + 1)
            model.save(f"{self.diary}/checkpoint-{os.getpid()}")
            value = float(np.corrcoef(labels, model.predict(features))[0, 1])
            metrics = {"average_precision": value, "progress": model.done / self.steps}
            worker.report(metrics, f"{self.diary}/checkpoint-{os.getpid()}")
        return model

    def _note(self, step: int, *, resumed: bool) -> None:
        with (Path(self.diary) / "steps").open("a") as stream:
            stream.write(f"{self.rate:.6f} {step} {'resumed' if resumed else 'fresh'}\n")
        struck = Path(self.diary) / "struck"
        if step != self.fatal or (struck.exists() and self.fate != "always"):
            return
        struck.touch()
        if self.fate == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("the stars were not right")

    def load(self, path: str) -> "StepwiseModel":
        return StepwiseModel(**json.loads((Path(path) / "model.json").read_text()))


class StepwiseModel:
    """Weights and the number of steps taken."""

    def __init__(self, weights: list[float], done: int) -> None:
        self.weights, self.done = weights, done

    def predict(self, batch: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.clip(np.nan_to_num(batch) @ np.array(self.weights), -50, 50)))

    def explain(self, batch: np.ndarray) -> np.ndarray:
        return np.nan_to_num(batch) * np.array(self.weights)

    def save(self, path: str) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {"weights": self.weights, "done": self.done}
        (Path(path) / "model.json").write_text(json.dumps(content))


def steps(diary: Path) -> list[tuple[str, int, str]]:
    """What was done: (rate, step, fresh or resumed)."""
    lines = [line.split() for line in (diary / "steps").read_text().splitlines()]
    return [(rate, int(step), way) for rate, step, way in lines]
