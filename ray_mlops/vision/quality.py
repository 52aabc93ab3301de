"""What can be said of a picture without knowing what is on it: its size, light, contrast and sharpness."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from ray_mlops.vision import stacks

_SIDE = 128
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


class Quality(NamedTuple):
    """Arrays `(rows,)` float64: `brightness` and `contrast` are mean and standard deviation of the luminance in [0, 1]; `sharpness` is the
    standard deviation of its second differences, which blur takes away, over its contrast; `colour` is the mean distance
    between channels."""

    brightness: np.ndarray
    contrast: np.ndarray
    sharpness: np.ndarray
    colour: np.ndarray


def quality(pixels: np.ndarray) -> Quality:
    """Measure pictures `(rows, height, width, channels)` uint8, of larger ones copies of 128 pixels on the longer side."""
    shares = _reduced(pixels).astype(np.float32) / 255
    light = _light(shares)
    contrast = _spread(light)
    colour = shares.max(axis=3) - shares.min(axis=3)
    return Quality(_mean(light), contrast, _edges(light) / np.maximum(contrast, 1 / 255), _mean(colour))


def _light(shares: np.ndarray) -> np.ndarray:
    if shares.shape[3] == 1:
        return shares[..., 0]
    red, green, blue = (shares[..., place] * weight for place, weight in enumerate(_GREY))
    return red + green + blue  # a matrix product would round by where a picture lies in the array


def _reduced(pixels: np.ndarray) -> np.ndarray:
    high, wide = pixels.shape[1:3]
    by = max(high, wide) / _SIDE
    if by <= 1:
        return pixels
    return stacks.resized(pixels, (max(1, round(high / by)), max(1, round(wide / by))), Image.Resampling.BOX)


def _mean(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)


def _spread(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).std(axis=1, dtype=np.float64)


def _edges(light: np.ndarray) -> np.ndarray:
    if min(light.shape[1:]) < 3:
        return np.zeros(len(light))
    inner = light[:, 1:-1, 1:-1]
    around = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:]
    return _spread(around - 4 * inner)
