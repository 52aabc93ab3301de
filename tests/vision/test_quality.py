"""Measures of pictures move with what they measure."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ray_mlops.vision.quality import Quality
from ray_mlops.vision.quality import quality as measured
from tests.vision.pictures import noise, scene


def quality(pixels: np.ndarray) -> Quality:
    """The measures of one picture."""
    return Quality(*(values[0] for values in measured(pixels[None])))


def test_light_and_contrast_are_shares_of_the_range() -> None:
    assert quality(np.full((9, 9, 1), 255, np.uint8))[:3] == pytest.approx((1.0, 0.0, 0.0), abs=1e-5)
    halves = np.zeros((8, 8, 3), np.uint8)
    halves[:4] = 255
    assert quality(halves)[:2] == pytest.approx((0.5, 0.5), abs=1e-5)


def test_blur_takes_sharpness_and_little_else() -> None:
    sharp = noise(64, 64)
    soft = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(2)))
    assert quality(soft).sharpness < 0.25 * quality(sharp).sharpness
    assert quality(soft).brightness == pytest.approx(quality(sharp).brightness, abs=0.02)


def test_grey_has_no_colour() -> None:
    grey = np.repeat(scene()[:, :, :1], 3, axis=2)
    assert quality(grey).colour == 0 < quality(scene()).colour
    assert quality(scene()[:, :, :1]).brightness == pytest.approx(quality(grey).brightness, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 1), (900, 300, 3)])
def test_every_size_has_measures(shape: tuple[int, int, int]) -> None:
    assert np.isfinite(quality(np.full(shape, 90, np.uint8))).all()


@pytest.mark.parametrize("shape", [(20, 30, 3), (28, 28, 1), (150, 90, 3)])
def test_a_picture_has_the_same_measures_in_any_company(shape: tuple[int, int, int]) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    together = np.stack(measured(pictures), axis=1)
    assert (together == np.stack([np.array(quality(picture)) for picture in pictures])).all()
