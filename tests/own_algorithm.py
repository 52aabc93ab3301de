"""A user's own algorithm, as one would write it in a file beside a recipe: a large amount is risky."""

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ray_mlops.contract import Backend, Data, Frozen, Space, Uniform, Worker


class LargeAmounts(Frozen):
    """Risk grows with the first feature, relative to its mean over the frauds."""

    kind: Literal["large_amounts"] = "large_amounts"
    steepness: float = 2.0

    backend: ClassVar[Backend] = "none"

    def space(self) -> Space:
        return {"steepness": Uniform(low=0.5, high=5.0)}

    def fit(self, data: Data, worker: Worker) -> "LargeAmountsModel":
        features, labels = data.train.arrays()
        typical = float(features[labels > 0, 0].mean())
        worker.report({"average_precision": 0.5})
        return LargeAmountsModel(self.steepness, typical)

    def load(self, path: str) -> "LargeAmountsModel":
        return LargeAmountsModel(**json.loads((Path(path) / "model.json").read_text()))


class LargeAmountsModel:
    """What `LargeAmounts` learns: the amount at which the risk is one half."""

    def __init__(self, steepness: float, typical: float) -> None:
        self.steepness, self.typical = steepness, typical

    def _margin(self, batch: np.ndarray) -> Any:
        return self.steepness * (np.nan_to_num(batch[:, 0]) / self.typical - 1)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-self._margin(batch)))

    def explain(self, batch: np.ndarray) -> np.ndarray:
        contributions = np.zeros_like(batch)
        contributions[:, 0] = self._margin(batch)
        return contributions

    def save(self, path: str) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        (Path(path) / "model.json").write_text(json.dumps({"steepness": self.steepness, "typical": self.typical}))
