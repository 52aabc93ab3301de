"""Heat maps point at what decides: a patch of known place, by Grad-CAM as well as by occlusion."""

import numpy as np
import pytest
import torch
from torch import nn

from ray_mlops.algorithms.augmentation import Augmentation
from ray_mlops.algorithms.heat_maps import heat_maps
from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.algorithms.worker import LocalWorker, validation_metrics
from ray_mlops.contract import Data
from ray_mlops.platform.parts import ArrayPart

SIDE, PATCH = 24, 6


def patched(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey noise with a dark (class 0) or bright (class 1) patch: pictures, classes, and first row and column of each patch."""
    random = np.random.default_rng(seed)
    images = random.integers(90, 166, (rows, SIDE, SIDE, 1)).astype(np.uint8)
    labels, places = random.integers(0, 2, rows), random.integers(0, SIDE - PATCH + 1, (rows, 2))
    for image, label, (down, right) in zip(images, labels, places, strict=True):
        image[down : down + PATCH, right : right + PATCH] = 255 * label
    return images, labels, places


class TwoKernels(nn.Module):
    """Weights set by hand: one channel answers to what is dark, the other to what is bright; either speaks for its class."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3, padding=1, bias=True)
        with torch.no_grad():
            self.convolution.weight[0], self.convolution.weight[1] = -1 / 9, 1 / 9
            self.convolution.bias.fill_(-0.4)  # pyright: ignore[reportOptionalMemberAccess]
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.relu(self.convolution(images)).mean(dim=(2, 3))


class NoMap(nn.Module):
    """A network without a convolution, which Grad-CAM says nothing of: how bright it finds the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return (
            torch.stack([(-images - 0.4).relu().mean(dim=(1, 2, 3)), (images - 0.4).relu().mean(dim=(1, 2, 3))], 1)
            * 100
        )


def pointing(maps: np.ndarray, places: np.ndarray, margin: int) -> tuple[float, float]:
    """The shares of maps whose highest value, and whose centre of mass, lie in the patch or `margin` pixels beside it."""
    tops = np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(axis=1), maps.shape[1:]), axis=1)
    along = np.arange(SIDE)
    weights = maps.sum(axis=(1, 2))
    centres = np.stack([(maps.sum(axis=2) * along).sum(axis=1), (maps.sum(axis=1) * along).sum(axis=1)], axis=1)
    within = [
        ((found >= places - margin) & (found < places + PATCH + margin)).all(axis=1).mean()
        for found in (tops, centres / weights[:, None])
    ]
    return within[0], within[1]


@pytest.mark.parametrize(("network", "calls", "margin"), [(TwoKernels(), 1, 0), (NoMap(), 51, 2)])
def test_the_map_of_a_network_set_by_hand_lies_in_the_patch(
    network: TwoKernels | NoMap, calls: int, margin: int
) -> None:
    images, labels, places = patched(64, seed=1)
    given = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert (network(given).argmax(1).numpy() == labels).all()
    network.calls = 0
    maps = heat_maps(network, given)
    assert network.calls == calls  # Grad-CAM looks once, occlusion once more and for each of 49 patches
    assert maps.shape == (64, SIDE, SIDE)
    assert (maps.max(axis=(1, 2)) == 1).all()
    assert pointing(maps, places, margin) == (1.0, 1.0)


def test_the_map_of_a_fitted_network_lies_in_the_patch() -> None:
    images, labels, places = patched(400, seed=2)
    train, judged = ArrayPart(images[:300], labels[:300]), ArrayPart(images[300:], labels[300:])
    algorithm = ImageClassifier(widths=(8, 16, 16), epochs=8, batch_size=32, augment=Augmentation(crop=0, flip=False))
    model = algorithm.fit(Data(train, judged, ("dark", "bright")), LocalWorker())
    assert validation_metrics(judged.labels, model.predict(judged.features))["accuracy"] == 1
    top, centre = pointing(model.explain(judged.features), places[300:], margin=2)  # a map of 6 x 6, made larger
    assert top > 0.95
    assert centre > 0.9
