"""What can be said of a picture without knowing what is on it: its size, light, contrast and sharpness."""

from typing import NamedTuple

import numpy as np
from PIL import Image

_SIDE = 128
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


class Quality(NamedTuple):
    """`brightness` and `contrast` are mean and standard deviation of the luminance in [0, 1]; `sharpness` is the
    standard deviation of its second differences, which blur takes away, over its contrast; `colour` is the mean distance
    between channels."""

    brightness: float
    contrast: float
    sharpness: float
    colour: float


def quality(pixels: np.ndarray) -> Quality:
    """Measure a picture `(height, width, channels)` uint8, of larger ones a copy of 128 pixels on the longer side."""
    shares = _reduced(pixels).astype(np.float32) / 255
    light = shares @ _GREY if shares.shape[2] == 3 else shares[:, :, 0]
    contrast = float(light.std())
    spread = shares.max(axis=2) - shares.min(axis=2)
    return Quality(float(light.mean()), contrast, _edges(light) / max(contrast, 1 / 255), float(spread.mean()))


def _reduced(pixels: np.ndarray) -> np.ndarray:
    high, wide = pixels.shape[:2]
    by = max(high, wide) / _SIDE
    if by <= 1:
        return pixels
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    small = np.asarray(picture.resize((max(1, round(wide / by)), max(1, round(high / by))), Image.Resampling.BOX))
    return small if small.ndim == 3 else small[:, :, None]


def _edges(light: np.ndarray) -> float:
    if min(light.shape) < 3:
        return 0.0
    inner = light[1:-1, 1:-1]
    around = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:]
    return float((around - 4 * inner).std())
