"""The digits on their way through the stages without Ray: a clean table, features, a fitted model, a bundle."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from ray_mlops.algorithms import describe
from ray_mlops.algorithms.worker import LocalWorker, validation_metrics
from ray_mlops.contract import (
    Algorithm,
    Backend,
    Data,
    Decision,
    Evaluation,
    Frozen,
    ImageFeatures,
    ImageSchema,
    ImageTable,
    ModelVersion,
    Run,
    Space,
    Trained,
    Uniform,
    Worker,
)
from ray_mlops.platform import tables
from ray_mlops.platform.admission import RegisterConfig
from ray_mlops.stages.images import evaluate, features, register
from ray_mlops.stages.images.evaluate import ImageEvaluateConfig
from ray_mlops.vision.datasets import Digits
from ray_mlops.vision.features import ImageFeaturesConfig
from ray_mlops.vision.parts import ImageSource
from ray_mlops.vision.sources import rows
from ray_mlops.vision.transform import Transform

SCHEMA = ImageSchema(mode="L")
EIGHT = ImageFeaturesConfig(transform=Transform(size=(8, 8), mode="L"))


class Centroids(Frozen):
    """A user's own classifier: the nearest mean picture; fitted in a moment, right about nine times of ten."""

    kind: Literal["centroids"] = "centroids"
    backend: Backend = "none"
    sharpness: float = 1.0

    def space(self) -> Space:
        return {"sharpness": Uniform(low=0.1, high=10.0, log=True)}

    def fit(self, data: Data, worker: Worker) -> "CentroidModel":
        pixels, labels = data.train.arrays()
        means = np.stack([pixels[labels == place].mean(axis=0) for place in range(len(data.names))])
        return CentroidModel(means, self.sharpness)

    def load(self, path: str) -> "CentroidModel":
        found = np.load(Path(path) / "means.npz")
        return CentroidModel(found["means"], float(found["sharpness"]))


class CentroidModel:
    """Mean pictures `(classes, height, width, channels)`."""

    def __init__(self, means: np.ndarray, sharpness: float) -> None:
        self.means, self.sharpness = means, sharpness

    def _distances(self, batch: np.ndarray) -> np.ndarray:
        return ((batch[:, None] / 255 - self.means[None] / 255) ** 2).sum(axis=(2, 3, 4))

    def predict(self, batch: np.ndarray) -> np.ndarray:
        distances = self._distances(batch)
        powers = np.exp(-self.sharpness * (distances - distances.min(axis=1, keepdims=True)))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    def explain(self, batch: np.ndarray) -> np.ndarray:
        nearest = self.means[self._distances(batch).argmin(axis=1)]
        return (1 - np.abs(batch / 255 - nearest / 255).mean(axis=3)).astype(np.float32)

    def save(self, path: str) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        np.savez(Path(path) / "means.npz", means=self.means, sharpness=self.sharpness)


QUICK = Centroids()
DECISION = Decision(
    uri="", fingerprint="d", verdict="use_ml", reasons=("a model is better",), scores={"nearest": {"accuracy": 0.9}}
)
FAST = ImageEvaluateConfig(robustness_rows=50, errors=6)


def a_run(root: Path | str, stage: str) -> Run:
    """A run whose stage writes to a folder of its own."""
    return Run(
        root=str(root), id="r-1", recipe="digits", seed=3, uri=str(Path(root, "artifacts", stage)), fingerprint=stage
    )


@lru_cache(maxsize=1)
def digits() -> pa.Table:
    """All digits as rows of a raw table."""
    (piece,) = Digits().pieces()
    return rows(piece.read(), (SCHEMA.key, SCHEMA.image, SCHEMA.label, SCHEMA.group))


def clean_table(root: Path | str, change: Callable[[pa.Table], pa.Table] = lambda table: table) -> ImageTable:
    """A table of the digits as `clean` leaves it; `change` may spoil it first, or name their twins."""
    made = change(digits())
    made = made.append_column("phash", pa.array(np.arange(made.num_rows)))
    made = made if "twins" in made.column_names else made.append_column("twins", made[SCHEMA.key])
    return tables.write_images(made, "digits.clean", a_run(root, "clean"), data=SCHEMA)


def featured(root: Path | str, config: ImageFeaturesConfig = EIGHT) -> ImageFeatures:
    """The features of the digits."""
    return features.run(config, a_run(root, "features"), table=clean_table(root))


def fitted(root: Path | str, made: ImageFeatures, algorithm: Algorithm = QUICK, stage: str = "train") -> Trained:
    """A model of the digits, fitted in this process."""
    source, run = ImageSource.of(made), a_run(root, stage)
    data = Data(source.read("train"), source.read("validation"), source.names)
    model = algorithm.fit(data, LocalWorker(seed=3, threads=2))
    model.save(str(Path(run.uri, "model")))
    pixels, labels = data.validation.arrays()
    metrics = validation_metrics(labels, model.predict(pixels))
    described = json.loads(json.dumps(describe(algorithm)))
    return Trained(
        uri=run.uri, fingerprint=stage, algorithm=described, metrics=metrics, workers=1, rows=made.rows["train"]
    )


def judged(root: Path | str, made: ImageFeatures, trained: Trained, champion: ModelVersion | None = None) -> Evaluation:
    """The evaluation of a model of the digits."""
    return evaluate.run(
        FAST,
        a_run(root, "evaluate"),
        features=made,
        trained=trained,
        decision=DECISION,
        algorithm=QUICK,
        champion=champion,
    )


def registered(
    root: Path | str, made: ImageFeatures, trained: Trained, evaluation: Evaluation, name: str = "digits"
) -> ModelVersion:
    """The registered version of a model of the digits."""
    return register.run(
        RegisterConfig(name=name, gates={"accuracy": 0.8}),
        a_run(root, "register"),
        features=made,
        trained=trained,
        evaluation=evaluation,
        decision=DECISION,
        algorithm=QUICK,
    )
