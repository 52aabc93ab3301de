"""Decoding gives the picture a person would see, or says why there is none."""

import pickle
import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ray_mlops.errors import DataError
from ray_mlops.vision.decoding import Undecodable, decode, probe, turns
from tests.vision.pictures import encoded, noise, scene


def reason(data: bytes, **options: Any) -> str:
    with pytest.raises(Undecodable) as caught:
        decode(data, **options)
    assert isinstance(caught.value, DataError)
    return caught.value.reason


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_their_pixels(format: str) -> None:
    pixels = noise()
    data = encoded(pixels, format, **({"lossless": True} if format == "WEBP" else {}))
    assert (decode(data) == pixels).all()
    assert probe(data) == (format, 32, 24, "RGB")


def test_a_jpeg_gives_nearly_its_pixels() -> None:
    pixels = scene()
    found = decode(encoded(pixels, "JPEG", quality=95, subsampling=0))
    assert found.shape == pixels.shape and found.dtype == np.uint8 and found.flags.c_contiguous
    assert np.abs(found.astype(int) - pixels).mean() < 4


@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"quality": 30}]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_plain_jpeg_gives_the_pixels_that_pillow_gives(options: dict[str, int], channels: int) -> None:
    data = encoded(noise(channels=channels), "JPEG", **options)
    for mode in ("RGB", "L"):
        expected = np.asarray(Image.open(BytesIO(data)).convert(mode)).reshape(24, 32, -1)
        assert (decode(data, mode) == expected).all()


def test_a_jpeg_with_bytes_astray_gives_what_pillow_gives() -> None:
    whole = encoded(scene(), "JPEG")
    for place in range(0, len(whole), 7):
        data = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        try:
            expected = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
        except (OSError, SyntaxError, ValueError):
            with pytest.raises(Undecodable):
                decode(data)
        else:
            assert (decode(data) == expected).all(), place


def test_several_pictures_in_one_jpeg_are_a_jpeg() -> None:
    first = Image.fromarray(scene(seed=1))
    data = encoded(first, "MPO", save_all=True, append_images=[Image.fromarray(scene(seed=2))])
    assert probe(data).format == "JPEG"
    assert np.abs(decode(data).astype(int) - scene(seed=1)).mean() < 12


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_what_is_too_small_or_of_another_format_is_refused_in_every_format(format: str) -> None:
    data = encoded(noise(7, 40), format)
    assert decode(data, minimum_side=7).shape == (7, 40, 3)
    assert reason(data, minimum_side=8) == "too small, a side is below 8 pixels"
    assert reason(data, formats=("TIFF",)) == f"format {format} is not declared"


def test_grey_and_colour_become_what_is_asked_for() -> None:
    grey = noise(channels=1)
    assert (decode(encoded(grey))[:, :, 1] == grey).all()
    assert decode(encoded(grey), "L").shape == (24, 32, 1)
    assert (decode(encoded(grey), "L")[:, :, 0] == grey).all()
    weights = noise().astype(float) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(encoded(noise()), "L")[:, :, 0] - weights).max() < 1


def test_a_palette_gives_its_colours() -> None:
    pixels = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 0, 0]]], np.uint8)
    data = encoded(Image.fromarray(pixels).quantize(4))
    assert probe(data).mode == "P"
    assert (decode(data) == pixels).all()


def test_what_is_transparent_is_white() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0] = (10, 20, 30, 255)
    pixels[1, 0, 3] = 128
    found = decode(encoded(pixels))
    assert found[0].tolist() == [[10, 20, 30], [10, 20, 30]]
    assert found[1].tolist() == [[127, 127, 127], [255, 255, 255]]


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    image.putpalette([200, 0, 0, 0, 200, 0])
    assert decode(encoded(image, transparency=0)).tolist() == [[[255, 255, 255], [0, 200, 0]]]


def test_grey_with_alpha_is_grey_on_white() -> None:
    data = encoded(Image.merge("LA", (Image.new("L", (3, 2), 40), Image.new("L", (3, 2), 0))))
    assert (decode(data, "L") == 255).all()


def test_sixteen_bits_keep_their_range() -> None:
    deep = np.array([[0, 255, 256, 32_768, 65_535]], np.uint16)
    for format in ("PNG", "TIFF"):
        assert decode(encoded(deep, format), "L")[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_cmyk_is_converted() -> None:
    data = encoded(Image.new("RGB", (8, 8), (200, 30, 30)).convert("CMYK"), "JPEG", quality=95)
    assert probe(data).mode == "CMYK"
    assert np.abs(decode(data)[4, 4].astype(int) - (200, 30, 30)).max() < 12


def test_bilevel_pictures_are_black_and_white() -> None:
    data = encoded(Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"))
    assert decode(data, "L")[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("pixels", [np.ones((4, 4), np.float32), np.ones((4, 4), np.int32)])
def test_modes_without_eight_bits_are_refused(pixels: np.ndarray) -> None:
    assert reason(encoded(pixels, "TIFF")) in ("mode F", "mode I")


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    for format in ("GIF", "WEBP"):
        lossless = {"lossless": True} if format == "WEBP" else {}
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **lossless)
        assert (decode(data) == (255, 0, 0)).all(), format


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_turns_the_picture_upright(orientation: int, format: str) -> None:
    stored = np.zeros((16, 24, 3), np.uint8)
    stored[:8, :8] = (255, 0, 0)  # a red corner, top left as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, format, exif=exif)
    found = decode(data)
    assert found.shape[:2] == ((16, 24) if orientation < 5 else (24, 16))
    height, width = found.shape[:2]
    corner = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    red, green, _ = found[3 if corner[0] == 0 else height - 4, 3 if corner[1] == 0 else width - 4]
    assert red > 200 and green < 60
    assert turns(data) == (orientation > 1) or format == "TIFF"  # its reader turns it by itself


def test_broken_exif_does_not_spoil_a_picture() -> None:
    data = encoded(scene(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert decode(data).shape == (48, 64, 3)


def test_nothing_and_text_are_no_pictures() -> None:
    assert reason(b"") == "empty"
    assert reason(b"<html>404</html>") == "not an image"
    with pytest.raises(Undecodable, match="3c 68 74 6d 6c"):
        probe(b"<html>404</html>")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_picture_cut_off_is_no_picture(format: str, share: float) -> None:
    data = encoded(noise(64, 64), format)
    assert reason(data[: int(len(data) * share)]) in ("truncated", "corrupt", "not an image")


def test_a_formats_that_is_not_listed_is_never_parsed() -> None:
    assert reason(encoded(scene(), "PPM")) == "not an image"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n") == "not an image"


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims to be huge."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 30_000, 2_000_000_000])
def test_a_decompression_bomb_is_refused_before_it_unfolds(side: int) -> None:
    assert reason(bomb(side, side)) == "too many pixels"


def test_the_limit_of_pixels_can_be_set() -> None:
    data = encoded(noise(20, 30))
    assert decode(data, maximum_pixels=600).shape == (20, 30, 3)
    assert reason(data, maximum_pixels=599) == "too many pixels"


def test_the_reason_survives_the_way_from_a_worker() -> None:
    again = pickle.loads(pickle.dumps(Undecodable("corrupt: broken data stream")))
    assert (type(again), again.reason, str(again)) == (Undecodable, "corrupt", "corrupt: broken data stream")


SEEDS = [encoded(scene(seed=3), format) for format in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=12), st.floats(0, 1))
def test_no_damage_does_worse_than_a_reason(data: bytes, changes: list[tuple[float, int]], cut: float) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[int(place * (len(damaged) - 1))] = value
    damaged = damaged[: int(len(damaged) * (0.2 + 0.8 * cut))]
    try:
        pixels = decode(bytes(damaged))
    except Undecodable as error:
        assert error.reason
    else:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3


@given(st.binary(max_size=300))
def test_noise_is_no_picture(data: bytes) -> None:
    for read in (probe, decode, turns):
        with pytest.raises(Undecodable):
            read(data)


def test_the_same_bytes_give_the_same_pixels() -> None:
    data = encoded(scene(), "JPEG")
    assert (decode(data) == np.asarray(Image.open(BytesIO(data)))).all()
    assert (decode(data) == decode(data)).all()
