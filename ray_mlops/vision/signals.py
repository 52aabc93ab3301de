"""A few numbers of a picture, as it came and as a model is given it: what monitoring compares with the training pictures."""

import numpy as np

NAMES = ("brightness", "contrast", "sharpness", "saturation", "dark_share", "bright_share")
SHAPES = ("megapixels", "aspect")
DISTANCE = "embedding_distance"  # see `embedding`
SEEN = (*NAMES, *SHAPES, DISTANCE)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_DARK, _BRIGHT = 0.05, 0.95
_AT_ONCE = 512


def signals(pixels: np.ndarray) -> np.ndarray:
    """Of pictures `(rows, height, width, channels)` uint8 the values of `NAMES`, `(rows, 6)` float32.

    Mean and standard deviation of the luminance (0 to 1), mean step between neighbours, mean distance of the channels,
    and the shares of nearly black and nearly white pixels.
    """
    parts = [_signals(pixels[start : start + _AT_ONCE]) for start in range(0, len(pixels), _AT_ONCE)]
    return np.concatenate(parts) if parts else np.empty((0, len(NAMES)), np.float32)


def shapes(sizes: np.ndarray) -> np.ndarray:
    """Of widths and heights `(rows, 2)`, before any transform, the values of `SHAPES`, `(rows, 2)` float32; NaN where unknown."""
    wide, high = np.asarray(sizes, np.float64).reshape(-1, 2).T
    return np.stack([wide * high / 1e6, wide / np.maximum(high, 1)], axis=1).astype(np.float32)


def _signals(pixels: np.ndarray) -> np.ndarray:
    shares = pixels.astype(np.float32) / 255
    light = shares @ _LUMA if pixels.shape[3] == 3 else shares[..., 0]
    steps = [np.abs(np.diff(light, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2) if light.shape[axis] > 1]
    columns = (
        light.mean(axis=(1, 2)),
        light.std(axis=(1, 2)),
        np.mean(steps, axis=0) if steps else np.zeros(len(light), np.float32),
        (shares.max(axis=3) - shares.min(axis=3)).mean(axis=(1, 2)),
        (light < _DARK).mean(axis=(1, 2)),
        (light > _BRIGHT).mean(axis=(1, 2)),
    )
    return np.stack(columns, axis=1).astype(np.float32)
