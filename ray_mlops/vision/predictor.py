"""From a bundle to classes and probabilities: the same code behind batch scoring and behind HTTP; no Ray, no HTTP."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ray_mlops import algorithms
from ray_mlops.contract import Algorithm, Model
from ray_mlops.errors import ConfigError
from ray_mlops.platform.bundle import Bundle
from ray_mlops.vision.temperature import scaled
from ray_mlops.vision.transform import Transform

TRANSFORM = "transform.json"  # what tells the bundle of an image model from others
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ImagePredictor:
    """A model with all that turns the bytes of a picture into an answer."""

    model: Model
    transform: Transform
    classes: tuple[str, ...]
    temperature: float = 1.0

    @classmethod
    def load(cls, bundle: Bundle) -> "ImagePredictor":
        """The predictor of a bundle that `save` filled."""
        code = bundle.path("code") if bundle.has("code") else None
        algorithm = algorithms.restore(bundle.json("algorithm.json"), code)
        transform = Transform.model_validate(bundle.json(TRANSFORM))
        (temperature,) = bundle.json("calibration.json")["temperature"]
        return cls(algorithm.load(bundle.path("model")), transform, tuple(bundle.json("classes.json")), temperature)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """The calibrated probability of each class `(rows, classes)` of transformed pictures, uint8.

        Raises `ConfigError` when the model, a user's own perhaps, gives no distribution over the classes for each row.
        """
        given = np.asarray(self.model.predict(pixels), dtype=np.float64)
        legal = given.shape == (len(pixels), len(self.classes)) and bool(np.all(given >= 0))
        if not legal or not np.allclose(given.sum(axis=1), 1, atol=_SUM_TOLERANCE):
            raise ConfigError(
                f"the model's predict() gave an array {given.shape} for {len(pixels)} images; it must give one "
                f"probability for each of {len(self.classes)} classes, which sum to 1"
            )
        return scaled(given, self.temperature)

    def top(self, probabilities: np.ndarray, count: int) -> list[dict[str, Any]]:
        """The `count` likeliest classes of one picture `(classes,)`, likeliest first."""
        order = np.argsort(-probabilities, kind="stable")[:count]
        return [{"class": self.classes[place], "probability": float(probabilities[place])} for place in order]


def save(
    folder: str,
    algorithm: Algorithm,
    model: str,
    *,
    transform: Transform,
    classes: Sequence[str],
    calibration: Mapping[str, Sequence[float]],
) -> None:
    """Write into `folder` what `ImagePredictor.load` reads; `model` is the folder the fitted model was saved to."""
    place = Path(folder)
    shutil.copytree(model, place / "model", symlinks=True, dirs_exist_ok=True)  # a bundle refuses links
    if (source := algorithms.source_file(algorithm)) is not None:
        (place / "code").mkdir(exist_ok=True)
        shutil.copyfile(source, place / "code" / Path(source).name)
    _write(place / "algorithm.json", algorithms.describe(algorithm))
    _write(place / TRANSFORM, transform.model_dump(mode="json"))
    _write(place / "classes.json", list(classes))
    _write(place / "calibration.json", {name: list(values) for name, values in calibration.items()})


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
