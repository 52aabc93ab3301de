"""From a bundle to classes and probabilities: the same code behind batch scoring and behind HTTP; no Ray, no HTTP."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ray_mlops import algorithms
from ray_mlops.contract import Algorithm, Embedding, Model
from ray_mlops.errors import ConfigError
from ray_mlops.platform.bundle import Bundle
from ray_mlops.vision.embedding import REFERENCE, Reference, Seen, by_answers
from ray_mlops.vision.temperature import scaled
from ray_mlops.vision.transform import Transform

TRANSFORM = "transform.json"  # what tells the bundle of an image model from others
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ImagePredictor:
    """A model with all that turns the bytes of a picture into an answer; `reference` is where training pictures lie."""

    model: Model
    transform: Transform
    classes: tuple[str, ...]
    temperature: float = 1.0
    reference: Reference | None = None

    @classmethod
    def load(cls, bundle: Bundle) -> "ImagePredictor":
        """The predictor of a bundle that `save` filled."""
        code = bundle.path("code") if bundle.has("code") else None
        algorithm = algorithms.restore(bundle.json("algorithm.json"), code)
        transform = Transform.model_validate(bundle.json(TRANSFORM))
        (temperature,) = bundle.json("calibration.json")["temperature"]
        reference = Reference.read(bundle.path(REFERENCE)) if bundle.has(REFERENCE) else None
        model, classes = algorithm.load(bundle.path("model")), tuple(bundle.json("classes.json"))
        return cls(model, transform, classes, temperature, reference)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """The calibrated probability of each class `(rows, classes)` of transformed pictures, uint8.

        Raises `ConfigError` when the model, a user's own perhaps, gives no distribution over the classes for each row.
        """
        return self._calibrated(self.model.predict(pixels), len(pixels))

    def seen(self, pixels: np.ndarray) -> Seen:
        """`probabilities`, and the embedding of each picture: the model's, else one made of its answers; in one pass."""
        if not isinstance(self.model, Embedding):
            probabilities = self.probabilities(pixels)
            return probabilities, by_answers(probabilities)
        given, embeddings = self.model.embed(pixels)
        probabilities = self._calibrated(given, len(pixels))
        return probabilities, embeddings if embeddings.shape[1] else by_answers(probabilities)

    def placed(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`probabilities`, and how far each picture lies from training, `(rows,)` float32; NaN where the bundle does not say."""
        if self.reference is None:
            return self.probabilities(pixels), np.full(len(pixels), np.nan, np.float32)
        seen = self.seen(pixels)
        return seen[0], self.reference.distances(seen)

    def _calibrated(self, answered: np.ndarray, rows: int) -> np.ndarray:
        given = np.asarray(answered, dtype=np.float64)
        legal = given.shape == (rows, len(self.classes)) and bool(np.all(given >= 0))
        if not legal or not np.allclose(given.sum(axis=1), 1, atol=_SUM_TOLERANCE):
            raise ConfigError(
                f"the model's predict() gave an array {given.shape} for {rows} images; it must give one "
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
