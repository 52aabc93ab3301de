"""A bundle of pictures as a function of MLflow: the bytes of image files in, classes and probabilities out."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ray_mlops.platform import mlmodel
from ray_mlops.platform.bundle import Bundle
from ray_mlops.vision.predictor import ImagePredictor

if TYPE_CHECKING:
    import pandas as pd

_IMAGE = "image"
_OUTPUTS = {
    "class": "string",
    "probability": "double",
    "probabilities": {"type": "array", "items": {"type": "double"}},
}


def write(folder: str, example: str) -> None:
    """Make the bundle in a folder a model of MLflow; `example` is the path of an image file."""
    row = [base64.b64encode(Path(example).read_bytes()).decode()]
    mlmodel.write(folder, __name__, inputs={_IMAGE: "binary"}, outputs=_OUTPUTS, example=row)


class Function:
    """What `mlflow.pyfunc` asks."""

    def __init__(self, predictor: ImagePredictor) -> None:
        self._predictor = predictor

    def predict(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Columns `class`, `probability` and `probabilities`, those of all classes in their order.

        Raises `Undecodable` when a row is no picture.
        """
        import pandas as pd

        pixels = np.stack([self._predictor.transform.read(file) for file in frame[_IMAGE]])
        probabilities = self._predictor.probabilities(pixels)
        likeliest = [self._predictor.top(one, 1)[0] for one in probabilities]
        return pd.DataFrame(
            {
                "class": [one["class"] for one in likeliest],
                "probability": [one["probability"] for one in likeliest],
                "probabilities": probabilities.tolist(),
            }
        )


def _load_pyfunc(path: str) -> Function:
    """What MLflow calls with the folder of a bundle."""
    return Function(ImagePredictor.load(Bundle.at(path)))
