"""A user's own algorithm with a fault on demand: a large amount is risky, and the model fails, dawdles or exaggerates."""

import json
import time
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ray_mlops.contract import Backend, Data, Frozen, Space, Uniform, Worker


class Planted(Frozen):
    """Risk grows with the first feature; what is wrong with the model is `fault`."""

    kind: Literal["planted"] = "planted"
    fault: Literal["none", "raises", "slow", "shifted", "hangs"] = "none"
    steepness: float = 2.0

    backend: ClassVar[Backend] = "none"

    def space(self) -> Space:
        return {"steepness": Uniform(low=0.5, high=5.0)}

    def fit(self, data: Data, worker: Worker) -> "PlantedModel":
        worker.report({"average_precision": 0.5})
        return PlantedModel(self.steepness, self.fault)

    def load(self, path: str) -> "PlantedModel":
        return PlantedModel(**json.loads((Path(path) / "model.json").read_text()))


class PlantedModel:
    """What `Planted` learns; a fault shows only on single rows that are none of zeros, as endpoints are asked for, not while it is made."""

    def __init__(self, steepness: float, fault: str) -> None:
        self.steepness, self.fault = steepness, fault

    def _margin(self, batch: np.ndarray) -> Any:
        return self.steepness * (np.nan_to_num(batch[:, 0]) / 100 - 1) + (3.0 if self.fault == "shifted" else 0.0)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        asked = len(batch) == 1 and batch.any()
        if asked and self.fault == "raises":
            raise ValueError("planted")
        if asked and self.fault in ("slow", "hangs"):
            time.sleep(0.05 if self.fault == "slow" else 8)
        return 1 / (1 + np.exp(-self._margin(batch)))

    def explain(self, batch: np.ndarray) -> np.ndarray:
        contributions = np.zeros_like(batch)
        contributions[:, 0] = self._margin(batch)
        return contributions

    def save(self, path: str) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        (Path(path) / "model.json").write_text(json.dumps({"steepness": self.steepness, "fault": self.fault}))
