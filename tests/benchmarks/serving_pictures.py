"""The model for pictures of 28 pixels that all servers answer with: two layers, in numpy, so that no server has a faster one."""

import base64
import io
import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ray_mlops.contract import Backend, Data, Frozen, Space, Worker
from ray_mlops.platform.bundle import Bundle
from ray_mlops.vision import predictor
from ray_mlops.vision.transform import Transform

SIDE, CLASSES, HIDDEN = 28, 10, 256
WEIGHTS = "weights.npz"


class Perceptron(Frozen):
    """One hidden layer of random weights, and a read-out fitted by least squares."""

    kind: Literal["perceptron"] = "perceptron"
    backend: Backend = "none"
    hidden: int = HIDDEN

    def space(self) -> Space:
        return {}

    def fit(self, data: Data, worker: Worker) -> "Network":
        raise NotImplementedError("the benchmark makes its weights itself")

    def load(self, path: str) -> "Network":
        return Network(**np.load(Path(path) / WEIGHTS))


class Network:
    """`first` is `(pixels, hidden)`, `second` `(hidden, classes)`, both float32."""

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        self._first, self._second = first, second

    def predict(self, batch: np.ndarray) -> np.ndarray:
        pixels = batch.reshape(len(batch), -1).astype(np.float32) / 255
        margins = np.maximum(pixels @ self._first, 0) @ self._second
        powers = np.exp(margins - margins.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def explain(self, batch: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def save(self, path: str) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        np.savez(Path(path) / WEIGHTS, first=self._first, second=self._second)


def pictures(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Made-up pictures uint8 `(count, 28, 28, 1)`, each a bright patch in noise, and the class: where the patch is."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    made = random.integers(0, 90, (count, SIDE, SIDE, 1))
    for picture, label in zip(made, labels, strict=True):
        row, column = divmod(int(label), 5)
        picture[14 * row : 14 * row + 10, 5 * column : 5 * column + 7] += 120
    return made.astype(np.uint8), labels


def file(picture: np.ndarray) -> bytes:
    """A picture as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(picture[:, :, 0]).save(stream, "PNG")
    return stream.getvalue()


def body(picture: np.ndarray) -> bytes:
    """A picture as callers send it."""
    return json.dumps({"image": base64.b64encode(file(picture)).decode()}).encode()


def make(folder: Path) -> Bundle:
    """The bundle of the model; beside it, in `folder`, what the other servers read."""
    source, model = folder / "source", folder / "fitted"
    source.mkdir(parents=True)
    random, (made, labels) = np.random.default_rng(0), pictures(2000)
    first = random.normal(0, 0.05, (SIDE * SIDE, HIDDEN)).astype(np.float32)
    hidden = np.maximum(made.reshape(len(made), -1).astype(np.float32) / 255 @ first, 0)
    second = np.linalg.lstsq(hidden, 8 * np.eye(CLASSES, dtype=np.float32)[labels], rcond=1e-4)[0]
    Network(first, second.astype(np.float32)).save(str(model))
    os.link(model / WEIGHTS, folder / WEIGHTS)
    transform, calibration = Transform(size=(SIDE, SIDE), mode="L"), {"temperature": (1.0,)}
    names = tuple(map(str, range(CLASSES)))
    predictor.save(str(source), Perceptron(), str(model), transform=transform, classes=names, calibration=calibration)
    told: dict[str, Any] = {"evaluation": {}, "lineage": {}}
    for name, content in told.items():
        (source / f"{name}.json").write_text(json.dumps(content))
    (source / "example.png").write_bytes(file(made[0]))
    return Bundle.write(str(source), str(folder / "bundles"))


def save_for_mlflow(folder: Path, code: Path) -> None:
    """The same model as MLflow serves it: Python code, which reads the weights beside it."""
    import mlflow

    mlflow.pyfunc.save_model(
        str(folder / "mlflow"), python_model=str(code / "peer_mlflow.py"), pip_requirements=["mlflow"]
    )
