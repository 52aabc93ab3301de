"""What monitoring sees of a picture."""

import numpy as np
import pytest

from ray_mlops.vision.signals import NAMES, SHAPES, shapes, signals

RANDOM = np.random.default_rng(2)


def of(picture: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, signals(picture[None])[0].tolist(), strict=True))


def test_a_plain_grey_picture_is_as_bright_as_it_is_and_nothing_else() -> None:
    found = of(np.full((6, 5, 3), 51, np.uint8))
    assert found["brightness"] == pytest.approx(0.2)
    assert all(found[name] == pytest.approx(0, abs=1e-6) for name in NAMES if name != "brightness")


def test_each_signal_rises_with_what_it_names() -> None:
    noise = RANDOM.integers(60, 200, (32, 32, 3), dtype=np.uint8)
    smooth = np.broadcast_to(noise.mean(axis=(0, 1)).astype(np.uint8), noise.shape)
    assert of(noise)["contrast"] > of(smooth)["contrast"]
    assert of(noise)["sharpness"] > of(smooth)["sharpness"]
    assert of(np.zeros((4, 4, 1), np.uint8))["dark_share"] == 1.0
    assert of(np.full((4, 4, 1), 255, np.uint8))["bright_share"] == 1.0
    assert of(np.tile(np.array([200, 0, 0], np.uint8), (4, 4, 1)))["saturation"] == pytest.approx(200 / 255)


def test_many_pictures_are_many_single_ones_and_none_are_none() -> None:
    many = RANDOM.integers(0, 256, (600, 3, 4, 1), dtype=np.uint8)
    assert signals(many)[[0, 511, 512, 599]] == pytest.approx(
        np.concatenate([signals(many[[i]]) for i in (0, 511, 512, 599)])
    )
    assert signals(many[:0]).shape == (0, len(NAMES))


def test_a_single_pixel_has_no_neighbours() -> None:
    assert of(np.full((1, 1, 1), 9, np.uint8))["sharpness"] == 0


def test_the_shape_is_that_of_the_file() -> None:
    found = shapes(np.array([[2_000, 1_000], [10, 40]]))
    assert found.tolist() == [[2.0, 2.0], pytest.approx([0.0004, 0.25])]
    assert shapes(np.empty((0, 2))).shape == (0, len(SHAPES))
