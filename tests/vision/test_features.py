"""Pixels in a binary column, and files through the transform."""

import numpy as np
import pyarrow as pa
import pytest

from ray_mlops.vision.decoding import Undecodable
from ray_mlops.vision.features import ImageFeaturesConfig, packed, read_all, unpacked
from ray_mlops.vision.transform import Transform
from tests.vision import pictures

RANDOM = np.random.default_rng(0)


def test_pixels_come_back_from_a_column_whole_sliced_and_in_chunks() -> None:
    pixels = RANDOM.integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)
    column = packed(pixels)
    assert column.type == pa.binary()
    assert column[3].as_py() == pixels[3].tobytes()
    for chunks, rows in (
        ([column], slice(None)),
        ([column.slice(2, 3)], slice(2, 5)),
        ([column[:3], column[3:]], slice(None)),
    ):
        assert (unpacked(pa.chunked_array(chunks), (4, 5, 3)) == pixels[rows]).all()
    assert unpacked(pa.chunked_array([], pa.binary()), (4, 5, 3)).shape == (0, 4, 5, 3)


@pytest.mark.parametrize("threads", [1, 3])
def test_many_files_are_read_as_one_is(threads: int) -> None:
    transform = Transform(size=(6, 6), mode="RGB")
    files = [pictures.encoded(RANDOM.integers(0, 256, (9, 12, 3), dtype=np.uint8)) for _ in range(5)]
    found = read_all(files, transform, threads)
    assert (found == np.stack([transform.read(file) for file in files])).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_file_that_is_no_picture_is_told(threads: int) -> None:
    with pytest.raises(Undecodable):
        read_all([b"not a picture"], Transform(size=(6, 6)), threads)


def test_small_pictures_are_kept_as_pixels_and_large_ones_as_files() -> None:
    assert ImageFeaturesConfig(transform=Transform(size=(32, 32))).keeps == "pixels"
    assert ImageFeaturesConfig(transform=Transform(size=(224, 224))).keeps == "bytes"
    assert ImageFeaturesConfig(transform=Transform(size=(224, 224)), stored="pixels").keeps == "pixels"
