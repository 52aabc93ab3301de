"""From the bytes of a file to pixels, or to the reason why there are none. Garbage never gets further than here.

The picture is the one a person would see: turned as its EXIF orientation says, transparent parts on white, the first
frame of an animation, the upper eight of sixteen bits. Only the formats in `FORMATS` are ever parsed.
"""

from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from typing import Literal, NamedTuple, get_args

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from ray_mlops.errors import DataError

Format = Literal["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]
Mode = Literal["RGB", "L"]
FORMATS: tuple[Format, ...] = get_args(Format)
MAXIMUM_PIXELS = 50_000_000

_TAGGED = (b"Exif\0", b"http://ns.adobe.com/xap")  # what may say how to turn a picture
_PLAIN = {("YCbCr", "RGB"): "RGB", ("Gray", "RGB"): "RGB", ("Gray", "L"): "GRAY"}
_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
_CONVERTIBLE = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", *_TRANSPARENT, *_SIXTEEN_BITS)


class Undecodable(DataError):
    """Bytes that give no picture; `reason` is the kind of defect, the message may say more after a colon."""

    @property
    def reason(self) -> str:
        return str(self).partition(":")[0]


class Header(NamedTuple):
    """What a file says of itself: `width` and `height` are as stored, before any EXIF turn."""

    format: str
    width: int
    height: int
    mode: str


def probe(data: bytes) -> Header:
    """Format, size and mode of a picture without decoding its pixels; raises `Undecodable`."""
    with _opened(data) as image:
        return Header(_format(image), image.width, image.height, image.mode)


def decode(
    data: bytes,
    mode: Mode = "RGB",
    *,
    maximum_pixels: int = MAXIMUM_PIXELS,
    formats: Sequence[Format] = FORMATS,
    minimum_side: int = 1,
) -> np.ndarray:
    """The upright picture, uint8 `(height, width, 3)` or `(height, width, 1)`.

    Raises `Undecodable` for what is empty, not a picture, truncated, corrupt, in none of the `formats`, smaller than
    `minimum_side` or larger than `maximum_pixels` (all found before any pixel is decoded), or in a mode with no
    eight-bit form.
    """
    plain = _plain_jpeg(data, mode, maximum_pixels, minimum_side) if "JPEG" in formats else None
    if plain is not None:
        return plain
    with _opened(data) as image:
        if _format(image) not in formats:
            raise Undecodable(f"format {_format(image)} is not declared")
        if min(image.size) < minimum_side:
            raise Undecodable(f"too small, a side is below {minimum_side} pixels")
        if image.width * image.height > maximum_pixels:
            raise Undecodable(f"too many pixels: {image.width} x {image.height}, the limit is {maximum_pixels:,}")
        if image.mode not in _CONVERTIBLE:
            raise Undecodable(f"mode {image.mode}: it has no eight-bit form")
        try:
            image.load()
            pixels = np.asarray(_converted(_turned(image), mode))
        except Exception as error:  # what a decoder raises on garbage is anything at all
            raise Undecodable(_defect(error)) from error
    return np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[:, :, None])


def _plain_jpeg(data: bytes, mode: Mode, maximum_pixels: int, minimum_side: int) -> np.ndarray | None:
    """The pixels of an upright JPEG of the usual kind, the same as Pillow's in a seventh of the time and without holding up
    other threads; None for whatever Pillow has to look at."""
    if data[:3] != b"\xff\xd8\xff" or any(tag in data for tag in _TAGGED):
        return None
    try:
        height, width, stored, _ = simplejpeg.decode_jpeg_header(data)
        wanted, sides = _PLAIN.get((stored, mode)), (int(height), int(width))
        if wanted is None or min(sides) < minimum_side or sides[0] * sides[1] > maximum_pixels:
            return None
        return simplejpeg.decode_jpeg(data, wanted)
    except ValueError:
        return None


def turns(data: bytes) -> bool:
    """Whether the EXIF orientation turns or mirrors the picture."""
    with _opened(data) as image:
        return _orientation(image) in _UPRIGHT


def _opened(data: bytes) -> Image.Image:
    if not data:
        raise Undecodable("empty")
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise Undecodable(f"not an image: its first bytes are {bytes(data[:8]).hex(' ')}") from error
    except Image.DecompressionBombError as error:
        raise Undecodable(f"too many pixels: {error}") from error
    except Exception as error:  # a header may break its parser in any way
        raise Undecodable(_defect(error)) from error


def _format(image: Image.Image) -> str:
    """A JPEG that holds several pictures, as cameras write them, is a JPEG."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def _defect(error: Exception) -> str:
    words = str(error) or type(error).__name__
    return f"{'truncated' if 'truncated' in words.lower() else 'corrupt'}: {words}"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none; broken EXIF does not spoil a picture."""
    if not {"exif", "xmp", "Raw profile type exif"} & image.info.keys():
        return 1
    with suppress(Exception):
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _turned(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _converted(image: Image.Image, mode: Mode) -> Image.Image:
    if image.mode in _SIXTEEN_BITS:  # the library would cut off every value above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        cut = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", cut.size, "white"), cut)
    return image if image.mode == mode else image.convert(mode)
