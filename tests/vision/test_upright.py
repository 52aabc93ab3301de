"""A picture stored on its side stands upright in the clean table, without loss; other files stay as they are."""

import numpy as np
import pytest
from PIL import Image

from ray_mlops.contract import ImageSchema
from ray_mlops.vision.decoding import decode, probe, turns
from ray_mlops.vision.sources import Sample, content_hash, rows
from ray_mlops.vision.upright import all_upright, upright
from tests.vision.pictures import encoded, noise, scene


def turned(orientation: int, pixels: np.ndarray, format: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(pixels, format, exif=exif)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_seen_stays_the_same(orientation: int, channels: int) -> None:
    data = turned(orientation, noise(20, 30, channels))
    found, mode = upright(data), "L" if channels == 1 else "RGB"
    assert not turns(found) and probe(found)[:3] == ("PNG", *((30, 20) if orientation < 5 else (20, 30)))
    assert (decode(found, mode) == decode(data, mode)).all()


@pytest.mark.parametrize("data", [turned(1, scene()), encoded(scene(), "WEBP"), encoded(noise())])
def test_an_upright_file_is_not_touched(data: bytes) -> None:
    assert upright(data) is data


def test_size_and_hash_of_the_row_are_those_of_the_new_file() -> None:
    files = [encoded(noise()), turned(6, scene(20, 30))]
    raw = rows([Sample("a", files[0], "x"), Sample("b", files[1], "y")], ("id", "image", "label", "group"))
    clean = all_upright(raw, ImageSchema()).to_pylist()
    assert clean[0] == raw.to_pylist()[0]
    assert (clean[1]["width"], clean[1]["height"], clean[1]["label"]) == (20, 30, "y")
    assert clean[1]["hash"] == content_hash(clean[1]["image"]) != content_hash(files[1])
    assert all_upright(raw.slice(0, 1), ImageSchema()).equals(raw.slice(0, 1))
