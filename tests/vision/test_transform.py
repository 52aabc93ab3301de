"""One transform: the same array from the same bytes, whatever the size of the picture."""

import numpy as np
import pytest
from pydantic import ValidationError

from ray_mlops.vision.decoding import Undecodable
from ray_mlops.vision.transform import Transform
from tests.vision.pictures import encoded, noise, scene


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(8, 8), (24, 32), (100, 30), (1, 1), (3, 90)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_picture_takes_the_size(resize: str, size: tuple[int, int], mode: str) -> None:
    transform = Transform.model_validate({"size": size, "mode": mode, "resize": resize})
    for height, width in ((24, 32), (8, 8), (1, 1), (200, 3)):
        found = transform.read(encoded(noise(height, width)))
        assert found.shape == transform.shape and found.dtype == np.uint8


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    pixels = noise()
    assert (Transform(size=(24, 32)).apply(pixels) == pixels).all()


def test_stretch_fills_crop_cuts_and_pad_keeps() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, :20], wide[:, 20:40], wide[:, 40:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    cropped = Transform(size=(20, 20), resize="crop").apply(wide)
    assert (cropped == (0, 255, 0)).all()
    padded = Transform(size=(30, 30), resize="pad").apply(wide)
    assert (padded[:10] == 0).all() and (padded[20:] == 0).all()
    assert padded[15, 2].tolist() == [255, 0, 0] and padded[15, 28].tolist() == [0, 0, 255]
    stretched = Transform(size=(20, 20)).apply(wide)
    assert stretched[10, 2].tolist() == [255, 0, 0] and stretched[10, 17].tolist() == [0, 0, 255]


def test_shrinking_averages_rather_than_picks() -> None:
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(Transform(size=(8, 8), mode="L").apply(stripes).astype(int) - 127).max() <= 8


def test_it_is_the_same_after_a_journey_as_json() -> None:
    transform = Transform(size=(16, 16), resize="crop")
    again = Transform.model_validate_json(transform.model_dump_json())
    assert again == transform
    data = encoded(scene(), "JPEG")
    assert (again.read(data) == transform.read(data)).all()


@pytest.mark.parametrize("wrong", [{"size": (0, 4)}, {"mode": "CMYK"}, {"resize": "squash"}])
def test_what_cannot_be_meant_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        Transform.model_validate(wrong)


def test_an_array_of_another_kind_is_refused() -> None:
    for wrong in (noise().astype(np.float32), noise(channels=1), noise()[None]):
        with pytest.raises(ValueError, match="uint8"):
            Transform().apply(wrong)


def test_pixels_are_limited_as_in_decoding() -> None:
    with pytest.raises(Undecodable, match="too many pixels"):
        Transform(maximum_pixels=100).read(encoded(noise()))
