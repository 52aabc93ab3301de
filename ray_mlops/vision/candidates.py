"""Ways to name the class of an image, from none at all to a small network: what `decide` holds against one another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ray_mlops.vision.perceptual_hash import distances

_PROBE_SIDE = 16
_PROBE_STEPS = 100
_AT_ONCE = 256
_SMALL_SIDE = 16  # up to here two widths see the whole picture
_WIDTHS, _SMALL_WIDTHS = (16, 32, 64, 96), (16, 32)
_IMAGES_SEEN, _SMALL_SEEN, _EPOCHS = 40_000, 7_000, (3, 12)


@dataclass(frozen=True)
class Material:
    """Images to learn from or to judge by: `pixels` `(rows, height, width, channels)` uint8, perceptual hashes `looks`
    `(rows,)` int64, class places `labels` `(rows,)`, and `units` `(rows,)`, equal for images that belong together."""

    pixels: np.ndarray
    looks: np.ndarray
    labels: np.ndarray
    units: np.ndarray

    def only(self, rows: np.ndarray) -> "Material":
        """Some of the rows."""
        return Material(self.pixels[rows], self.looks[rows], self.labels[rows], self.units[rows])


@dataclass(frozen=True)
class Candidate:
    """`predict` learns from some images, of so many classes, and names the class places of others."""

    kind: str
    about: str
    predict: Callable[[Material, Material, int, int], np.ndarray]


def _constant(earlier: Material, later: Material, classes: int, seed: int) -> np.ndarray:
    most = int(np.bincount(earlier.labels, minlength=classes).argmax())
    return np.full(len(later.labels), most)


def _mean_colour(earlier: Material, later: Material, classes: int, seed: int) -> np.ndarray:
    """The class whose mean colour is nearest."""
    colours = earlier.pixels.mean(axis=(1, 2))
    known = np.bincount(earlier.labels, minlength=classes)
    sums = np.stack([np.bincount(earlier.labels, column, classes) for column in colours.T], axis=1)
    means = np.where(known[:, None] > 0, sums / np.maximum(known, 1)[:, None], np.inf)
    return np.abs(later.pixels.mean(axis=(1, 2))[:, None] - means[None]).sum(axis=2).argmin(axis=1)


def _nearest(earlier: Material, later: Material, classes: int, seed: int) -> np.ndarray:
    """The class of the image whose hash differs in the fewest bits."""
    parts = [later.looks[start : start + _AT_ONCE] for start in range(0, len(later.looks), _AT_ONCE)]
    found = [distances(part[:, None], earlier.looks[None]).argmin(axis=1) for part in parts]
    return earlier.labels[np.concatenate(found)]


def _linear(earlier: Material, later: Material, classes: int, seed: int) -> np.ndarray:
    """Logistic regression on pixels, of larger images reduced to 16 x 16."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=0.5, max_iter=_PROBE_STEPS, tol=1e-3)
    return model.fit(_flat(earlier.pixels), earlier.labels).predict(_flat(later.pixels))


def _flat(pixels: np.ndarray) -> np.ndarray:
    """Means over squares, in shares around 0, `(rows, values)` float32."""
    step = [max(1, side // _PROBE_SIDE) for side in pixels.shape[1:3]]
    high, wide = (side - side % by for side, by in zip(pixels.shape[1:3], step, strict=True))
    shape = (len(pixels), high // step[0], step[0], wide // step[1], step[1], pixels.shape[3])
    means = pixels[:, :high, :wide].reshape(shape).mean(axis=(2, 4), dtype=np.float32)
    return means.reshape(len(pixels), -1) / 255 - 0.5


def _network(earlier: Material, later: Material, classes: int, seed: int) -> np.ndarray:
    """A small residual network, for a few epochs, without flips: they may change what a picture means.

    Of larger pictures it sees more, or it would only be as good as a linear probe where a usual fit is far better: on
    Fashion-MNIST 83 % after 3 epochs of 7,000 images, 88 % after 5, a probe 83 %. A fit that learns nothing, or all too easily, is an answer here and no error.
    """
    from ray_mlops.algorithms.augmentation import Augmentation
    from ray_mlops.algorithms.debug_rules import DebugRules
    from ray_mlops.algorithms.image_classifier import ImageClassifier
    from ray_mlops.algorithms.worker import LocalWorker
    from ray_mlops.contract import Data
    from ray_mlops.platform.parts import ArrayPart

    rows, small = len(earlier.labels), max(earlier.pixels.shape[1:3]) <= _SMALL_SIDE
    algorithm = ImageClassifier(
        widths=_SMALL_WIDTHS if small else _WIDTHS,
        epochs=int(np.clip(-(-(_SMALL_SEEN if small else _IMAGES_SEEN) // rows), *_EPOCHS)),
        batch_size=64 if rows < 4_000 else 128,
        augment=Augmentation(crop=0, flip=False),
        debug=DebugRules(exploding=None, vanishing=None, stalled=None, overfitting=None, dead=None),
    )
    first = slice(0, _AT_ONCE)  # nothing is chosen by it
    data = Data(
        train=ArrayPart(earlier.pixels, earlier.labels),
        validation=ArrayPart(earlier.pixels[first], earlier.labels[first]),
        names=tuple(map(str, range(classes))),
    )
    # One thread: the same answer on any machine; two waited for each other nine times as long on a busy one.
    return algorithm.fit(data, LocalWorker(seed=seed)).predict(later.pixels).argmax(axis=1)


SIMPLE: Mapping[str, Candidate] = {
    one.kind: one
    for one in (
        Candidate("constant", "always the most frequent class", _constant),
        Candidate("mean_colour", "the class whose mean colour is nearest", _mean_colour),
        Candidate("nearest", "the class of the nearest image by perceptual hash", _nearest),
        Candidate("linear", "a linear probe on the pixels", _linear),
    )
}
NETWORK = Candidate("network", "a small residual network, a few epochs", _network)
