"""Small PNGs for pages: pictures as they are, and with a heat map laid over them."""

from io import BytesIO

import numpy as np
from PIL import Image

SIDE = 96


def thumbnail(pixels: np.ndarray, side: int = SIDE) -> bytes:
    """A picture `(height, width, channels)` uint8 as PNG with its longer side `side`; small ones keep their squares."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR)
    sink = BytesIO()
    picture.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def heated(pixels: np.ndarray, heat: np.ndarray, side: int = SIDE) -> bytes:
    """The same with a heat map `(height, width)` in [0, 1] over it: the redder, the more it spoke for the class."""
    grey = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    colours = np.stack([np.ones_like(heat), 0.9 - 0.8 * heat, np.zeros_like(heat)], axis=2) * 255
    share = 0.65 * heat[:, :, None]
    return thumbnail(np.rint(grey * (1 - share) + colours * share).astype(np.uint8), side)
