"""Answers to a classification of images that cost next to nothing, and quick models to hold against them.

All see the same few thousand small pictures. A candidate learns from one part and is judged on the other.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ray_mlops.algorithms.augmentation import Augmentation
from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.algorithms.worker import LocalWorker
from ray_mlops.contract import Data
from ray_mlops.platform.parts import ArrayPart

SIMPLE = ("majority", "mean_colour", "nearest")
MODELS = ("linear", "network")
_HASHES_AT_ONCE = 256


@dataclass(frozen=True)
class Material:
    """Pictures uint8 `(rows, height, width, channels)`, perceptual hashes `(rows,)` int64, places of classes `(rows,)`."""

    pixels: np.ndarray
    hashes: np.ndarray
    labels: np.ndarray

    def rows(self, chosen: np.ndarray) -> "Material":
        """Some of the rows."""
        return Material(self.pixels[chosen], self.hashes[chosen], self.labels[chosen])


class Candidate(NamedTuple):
    """What a candidate said of the judged rows: places of classes; `about` tells what it looks at."""

    kind: str
    about: str
    predicted: np.ndarray


def simple(earlier: Material, later: Material) -> list[Candidate]:
    """The candidates that are no models."""
    counts = np.bincount(earlier.labels)
    constant = np.full(len(later.labels), counts.argmax())
    return [
        Candidate("majority", "always the most frequent class", constant),
        Candidate("mean_colour", "the class whose mean colour and contrast are nearest", _by_colour(earlier, later)),
        Candidate("nearest", "the class of the picture with the nearest perceptual hash", _by_hash(earlier, later)),
    ]


def models(earlier: Material, later: Material, names: tuple[str, ...], *, seed: int, epochs: int) -> list[Candidate]:
    """The quick models."""
    return [
        Candidate("linear", "logistic regression on the pixels", _linear(earlier, later)),
        Candidate(
            "network", f"a small residual network, {epochs} epochs", _network(earlier, later, names, seed, epochs)
        ),
    ]


def _by_colour(earlier: Material, later: Material) -> np.ndarray:
    """Of the mean and the deviation of each channel, in units of their spread over the rows."""
    seen, asked = _colours(earlier.pixels), _colours(later.pixels)
    scale = seen.std(axis=0) + 1e-9
    present = np.unique(earlier.labels)
    middles = np.stack([seen[earlier.labels == label].mean(axis=0) for label in present])
    distances = (((asked[:, None] - middles[None]) / scale) ** 2).sum(axis=2)
    return present[distances.argmin(axis=1)]


def _colours(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2))], axis=1)


def _by_hash(earlier: Material, later: Material) -> np.ndarray:
    """The label of the row with the fewest differing bits, the first of equals."""
    known, found = earlier.hashes.view(np.uint64), []
    for start in range(0, len(later.labels), _HASHES_AT_ONCE):
        asked = later.hashes[start : start + _HASHES_AT_ONCE].view(np.uint64)
        found.append(np.bitwise_count(asked[:, None] ^ known[None]).argmin(axis=1))
    return earlier.labels[np.concatenate(found)]


def _linear(earlier: Material, later: Material) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    def flat(material: Material) -> np.ndarray:
        return material.pixels.reshape(len(material.labels), -1).astype(np.float32) / 255 - 0.5

    probe: Any = LogisticRegression(C=0.1, max_iter=200)
    return probe.fit(flat(earlier), earlier.labels).predict(flat(later))


def _network(earlier: Material, later: Material, names: tuple[str, ...], seed: int, epochs: int) -> np.ndarray:
    crop = 1 if min(earlier.pixels.shape[1:3]) < 16 else 2
    quick = ImageClassifier(widths=(16, 32), epochs=epochs, batch_size=64, augment=Augmentation(crop=crop, flip=False))
    train, judged = ArrayPart(earlier.pixels, earlier.labels), ArrayPart(later.pixels, later.labels)
    model = quick.fit(Data(train, judged, names), LocalWorker(seed=seed, threads=2))
    return model.predict(later.pixels).argmax(axis=1)
