"""Small pictures as files, made in the test."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image


def encoded(pixels: np.ndarray | Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    sink = BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def noise(height: int = 24, width: int = 32, channels: int = 3, *, seed: int = 0) -> np.ndarray:
    """Random pixels: no two seeds look alike."""
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def scene(height: int = 48, width: int = 64, *, seed: int = 0) -> np.ndarray:
    """A smooth picture with a few shapes, as photographs are, so that it survives compression and scaling."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    layers = []
    for _ in range(3):
        level = random.uniform(40, 120) + random.uniform(-60, 60) * x + random.uniform(-60, 60) * y
        for _ in range(4):
            where = (y - random.random()) ** 2 + (x - random.random()) ** 2 < random.uniform(0.01, 0.1)
            level = np.where(where, random.uniform(0, 255), level)
        layers.append(level)
    return np.clip(np.stack(layers, axis=2), 0, 255).astype(np.uint8)
