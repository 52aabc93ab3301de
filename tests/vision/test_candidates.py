"""What answers to a classification of images without a model can do, and what they cannot."""

import numpy as np
import pytest

from ray_mlops.vision.candidates import Material, models, simple

RANDOM = np.random.default_rng(0)


def shades(rows: int) -> Material:
    """Three classes that differ in brightness alone; hashes say nothing."""
    labels = RANDOM.integers(0, 3, rows)
    pixels = np.clip(RANDOM.normal(60 + 70 * labels[:, None, None, None], 10, (rows, 8, 8, 3)), 0, 255)
    return Material(pixels.astype(np.uint8), RANDOM.integers(0, 2**62, rows), labels)


def marked(rows: int) -> Material:
    """Two classes that differ in where a spot is; the hash of a class is one of two numbers and a bit of noise."""
    labels = RANDOM.integers(0, 2, rows)
    pixels = RANDOM.integers(0, 90, (rows, 8, 8, 1), dtype=np.uint8)
    for row, label in enumerate(labels):
        pixels[row, 2 + 3 * label, 2:6] = 250
    hashes = np.where(labels == 1, 0x0F0F0F0F0F0F0F0F, -0x0F0F0F0F0F0F0F10) ^ (1 << RANDOM.integers(0, 60, rows))
    return Material(pixels, hashes, labels)


def right(found: list, later: Material) -> dict[str, float]:
    return {one.kind: float((one.predicted == later.labels).mean()) for one in found}


def test_the_mean_colour_tells_shades_apart() -> None:
    later = shades(200)
    found = right(simple(shades(300), later), later)
    assert found["mean_colour"] > 0.95 and found["majority"] < 0.5 and found["nearest"] < 0.6


def test_the_nearest_hash_finds_the_picture_that_looks_alike() -> None:
    later = marked(200)
    found = right(simple(marked(300), later), later)
    assert found["nearest"] == 1.0 and found["mean_colour"] < 0.8


@pytest.mark.parametrize("seed", [0, 1])
def test_quick_models_learn_where_a_spot_is(seed: int) -> None:
    later = marked(120)
    found = right(models(marked(300), later, ("up", "down"), seed=seed, epochs=3), later)
    assert found["linear"] > 0.95 and found["network"] > 0.9
