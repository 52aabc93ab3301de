"""A bundle of transactions as a function of MLflow: features in, as the endpoint logs them, and what it answers for them.

Not transactions, because windows need the history of their entities, which a function does not have: it would give other
numbers than the endpoint, and nothing would say so.
"""

from typing import TYPE_CHECKING

import numpy as np

from ray_mlops.fraud.predictor import ACTIONS, Predictor
from ray_mlops.platform import mlmodel
from ray_mlops.platform.bundle import Bundle

if TYPE_CHECKING:
    import pandas as pd

_OUTPUTS = {"score": "double", "probability": "double", "decision": "string"}


def write(folder: str, predictor: Predictor, example: np.ndarray) -> None:
    """Make the bundle in a folder a model of MLflow; `example` is one row of features `(features,)`, NaN for unknown."""
    row = [None if np.isnan(value) else float(value) for value in example]
    inputs = dict.fromkeys(predictor.definition.names, "double")
    mlmodel.write(folder, __name__, inputs=inputs, outputs=_OUTPUTS, example=row)


class Function:
    """What `mlflow.pyfunc` asks."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Columns `score`, `probability` and `decision` for rows of features."""
        import pandas as pd

        names = list(self._predictor.definition.names)
        scores = self._predictor.score(frame[names].to_numpy(np.float32, na_value=np.nan))
        decision = [ACTIONS[action] for action in scores.action]
        return pd.DataFrame({"score": scores.score, "probability": scores.probability, "decision": decision})


def _load_pyfunc(path: str) -> Function:
    """What MLflow calls with the folder of a bundle."""
    return Function(Predictor.load(Bundle.at(path)))
