"""Every raw image is legal or has its reason."""

import pyarrow as pa
import pytest
from PIL import Image

from ray_mlops.contract import ImageSchema
from ray_mlops.vision.inspection import inspect, misnamed, sketches
from ray_mlops.vision.sources import Sample, rows
from tests.vision.pictures import encoded, noise, scene

NAMES = ("id", "image", "label", "group")
CUT = encoded(scene(), "JPEG")[:-200]


@pytest.mark.parametrize(
    ("image", "label", "reason"),
    [
        (encoded(noise()), "a", None),
        (encoded(noise(channels=1)), None, None),
        (None, "a", "image: missing, there was no such file"),
        (b"", "a", "image: empty"),
        (b"GIF89a and nothing", "a", "image: not an image"),
        (CUT, "a", "image: truncated"),
        (encoded(noise(7, 40)), "a", "image: too small, a side is below 8 pixels"),
        (encoded(noise(100, 101)), "a", "image: too many pixels"),
        (encoded(Image.new("F", (9, 9)), "TIFF"), "a", "image: mode F"),
        (encoded(noise(), "BMP"), "a", "image: format BMP is not declared"),
        (encoded(noise()), "c", "label: 'c' is not a declared class"),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_cannot_be_used_has_its_reason(image: bytes | None, label: str | None, reason: str | None, mode) -> None:
    legal = ImageSchema(mode=mode, classes=("a", "b"), maximum_pixels=10_000, formats=("PNG", "JPEG", "TIFF", "GIF"))
    good = encoded(noise(seed=1))
    found = inspect(rows([Sample("x", image, label), Sample("y", good, "b")], NAMES), legal, threads=2)
    assert found["reason"].to_pylist() == [reason, None]
    assert found["phash"].is_valid().to_pylist() == [reason is None, True]
    assert sketches(found["sketch"].drop_null(), legal).shape == ((reason is None) + 1, 192 if mode == "RGB" else 64)


def test_no_rows_are_no_rows() -> None:
    assert inspect(rows([], NAMES), ImageSchema()).num_rows == 0
    assert sketches(pa.chunked_array([], pa.binary()), ImageSchema()).shape == (0, 192)


def test_a_key_belongs_to_one_row() -> None:
    keys, contents = ["a", "b", "a", None, "c", "c", "d"], [1, 2, 1, 3, 4, 5, 1]
    assert misnamed(keys, contents) == {
        3: "missing", 2: "duplicate", 4: "conflicting duplicate", 5: "conflicting duplicate",
    }  # fmt: skip
