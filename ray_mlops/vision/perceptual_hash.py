"""A 64-bit hash of what a picture looks like: recompressed, resized or slightly brighter, it changes by a few bits."""

import numpy as np
from PIL import Image

from ray_mlops.vision import stacks

BITS = 64
_SIDE = 32
_LOW = 12  # frequencies looked at along each side
_FLAT = 1e-2  # coefficients below are rounding, not picture: constant pictures all hash to 0


def _cosines() -> np.ndarray:
    """The first rows of the orthonormal cosine transform, `(_LOW, _SIDE)`."""
    grid = np.pi * (np.arange(_SIDE) + 0.5)[None, :] * np.arange(_LOW)[:, None] / _SIDE
    rows = np.cos(grid) * np.sqrt(2 / _SIDE)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


_COSINES = _cosines()
_ORDER = sorted(range(_LOW * _LOW), key=lambda at: (at // _LOW + at % _LOW, at))[1 : BITS + 1]


def reduced(pixels: np.ndarray) -> np.ndarray:
    """Pictures `(rows, height, width, channels)` uint8 as the small grey ones that are hashed, `(rows, 32, 32)` uint8."""
    return stacks.resized(stacks.grey(pixels), (_SIDE, _SIDE), Image.Resampling.BILINEAR)[..., 0]


def perceptual_hashes(small: np.ndarray) -> np.ndarray:
    """The hashes of what `reduced` gave, `(rows, 32, 32)`, as `(rows,)` int64.

    A bit for each of the 64 lowest frequencies but the mean: whether it is above their median.
    """
    spectrum = _COSINES @ small.astype(np.float32) @ _COSINES.T
    lowest = spectrum.reshape(len(small), -1)[:, _ORDER]
    lowest[np.abs(lowest) < _FLAT] = 0
    bits = lowest > np.median(lowest, axis=1, keepdims=True)
    packed = np.ascontiguousarray(np.packbits(bits, axis=1))
    return packed.view(">u8")[:, 0].astype(np.uint64).view(np.int64)


def distances(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """In how many bits hashes differ, elementwise as shapes broadcast."""
    return np.bitwise_count(some.view(np.uint64) ^ others.view(np.uint64))
