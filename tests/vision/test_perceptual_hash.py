"""The hash stays near for one picture in many forms and far for different ones."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ray_mlops.vision.decoding import decode
from ray_mlops.vision.perceptual_hash import distances, perceptual_hashes, reduced
from tests.vision.pictures import encoded, scene


def hashes(*pictures: np.ndarray) -> np.ndarray:
    return perceptual_hashes(np.concatenate([reduced(pixels[None]) for pixels in pictures]))


def recompressed(pixels: np.ndarray) -> np.ndarray:
    return decode(encoded(pixels, "JPEG", quality=40))


def halved(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).reduce(2))


def brighter(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels.astype(int) + 12, 0, 255).astype(np.uint8)


def bigger(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(encoded(pixels))).resize((300, 200)))


@pytest.mark.parametrize("changed", [recompressed, halved, brighter, bigger])
def test_a_changed_picture_stays_near(changed) -> None:
    pictures = [scene(96, 128, seed=seed) for seed in range(20)]
    apart = distances(hashes(*pictures), hashes(*map(changed, pictures)))
    assert np.median(apart) <= 2 and apart.max() <= 8


def test_different_pictures_are_about_half_the_bits_apart() -> None:
    found = hashes(*[scene(96, 128, seed=seed) for seed in range(40)])
    apart = distances(found[:, None], found[None])[np.triu_indices(40, 1)]
    assert apart.min() > 8 and 24 < apart.mean() < 40


def test_pictures_of_one_colour_have_the_hash_0() -> None:
    found = hashes(*[np.full((20, 30, 3), level, np.uint8) for level in (0, 77, 255)])
    assert found.tolist() == [0, 0, 0]


def test_grey_and_colour_of_the_same_picture_agree() -> None:
    grey = scene(64, 64)[:, :, :1]
    assert hashes(grey).tolist() == hashes(np.repeat(grey, 3, axis=2)).tolist()


def test_distance_counts_bits_of_signed_numbers() -> None:
    assert distances(np.array([-1, 0, 1]), np.array([0, 0, 3])).tolist() == [64, 0, 1]
