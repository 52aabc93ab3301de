"""Pictures made worse on purpose, as cameras, light and networks do, to see from where on a model is mistaken."""

from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

Spoil = Callable[[np.ndarray], np.ndarray]
BRIGHTNESS = (0.5, 0.75, 1.25, 1.5)
BLUR = (0.01, 0.02, 0.04)  # radius as a share of the shorter side
QUALITY = (70, 40, 20)


def spoilers() -> Iterator[tuple[str, str, Spoil]]:
    """Kind, strength in words, and what spoils pictures `(rows, height, width, channels)` uint8."""
    for factor in BRIGHTNESS:
        yield "brightness", f"x {factor:g}", partial(brightened, factor=factor)
    for radius in BLUR:
        yield "blur", f"{radius:.0%} of the side", partial(blurred, share=radius)
    for quality in QUALITY:
        yield "jpeg", f"quality {quality}", partial(compressed, quality=quality)


def brightened(pixels: np.ndarray, factor: float) -> np.ndarray:
    """All values times a factor, cut off at white."""
    return np.clip(np.rint(pixels.astype(np.float32) * factor), 0, 255).astype(np.uint8)


def blurred(pixels: np.ndarray, share: float) -> np.ndarray:
    """A Gaussian blur with this share of the shorter side as its radius."""
    radius = share * min(pixels.shape[1:3])
    return _each(pixels, lambda picture: picture.filter(ImageFilter.GaussianBlur(radius)))


def compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Written as JPEG of this quality and read again."""

    def again(picture: Image.Image) -> Image.Image:
        sink = BytesIO()
        picture.save(sink, "JPEG", quality=quality)
        return Image.open(sink)

    return _each(pixels, again)


def _each(pixels: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    changed = np.empty_like(pixels)
    for place, picture in enumerate(pixels):
        one = change(Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture))
        changed[place] = np.asarray(one).reshape(picture.shape)
    return changed
