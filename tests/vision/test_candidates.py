"""What the candidates can tell apart, and what they cannot."""

import numpy as np

from ray_mlops.vision.candidates import NETWORK, SIMPLE, Material

RANDOM = np.random.default_rng(0)


def shades(rows: int) -> Material:
    """Three classes that differ in brightness alone; hashes say nothing."""
    labels = RANDOM.integers(0, 3, rows)
    pixels = np.clip(RANDOM.normal(60 + 70 * labels[:, None, None, None], 10, (rows, 8, 8, 3)), 0, 255)
    return Material(pixels.astype(np.uint8), RANDOM.integers(0, 2**62, rows), labels, np.arange(rows))


def marked(rows: int) -> Material:
    """Two classes that differ in where a spot is; the hash of a class is one of two numbers and a bit of noise."""
    labels = RANDOM.integers(0, 2, rows)
    pixels = RANDOM.integers(0, 90, (rows, 8, 8, 1), dtype=np.uint8)
    for row, label in enumerate(labels):
        pixels[row, 2 + 3 * label, 2:6] = 250
    looks = np.where(labels == 1, 0x0F0F0F0F0F0F0F0F, -0x0F0F0F0F0F0F0F10) ^ (1 << RANDOM.integers(0, 60, rows))
    return Material(pixels, looks, labels, np.arange(rows))


def right(kind: str, make, classes: int) -> float:
    later = make(200)
    return float((SIMPLE[kind].predict(make(300), later, classes, 0) == later.labels).mean())


def test_each_sees_what_it_looks_at_and_no_more() -> None:
    assert right("mean_colour", shades, 3) > 0.95 and right("mean_colour", marked, 2) < 0.7
    assert right("nearest", marked, 2) == 1.0 and right("nearest", shades, 3) < 0.5
    assert right("linear", shades, 3) > 0.9 and right("linear", marked, 2) == 1.0
    assert right("constant", marked, 2) < 0.65


def glyphs(rows: int) -> Material:
    """Two classes of 28 x 28 pixels, a plus and a ring, each anywhere: no pixel by itself tells them apart."""
    labels = RANDOM.integers(0, 2, rows)
    pixels = RANDOM.integers(0, 60, (rows, 28, 28, 1), dtype=np.uint8)
    plus, ring = np.zeros((5, 5), bool), np.ones((5, 5), bool)
    plus[2], plus[:, 2], ring[1:4, 1:4] = True, True, False
    for row, label in enumerate(labels):
        down, right = RANDOM.integers(0, 23, 2)
        pixels[row, down : down + 5, right : right + 5, 0][ring if label else plus] = RANDOM.integers(120, 250)
    return Material(pixels, RANDOM.integers(0, 2**62, rows), labels, np.arange(rows))


def test_the_network_sees_what_no_simple_candidate_does() -> None:
    earlier, later = glyphs(600), glyphs(200)
    told = {kind: one.predict(earlier, later, 2, 0) for kind, one in {**SIMPLE, NETWORK.kind: NETWORK}.items()}
    right = {kind: float((classes == later.labels).mean()) for kind, classes in told.items()}
    assert right.pop(NETWORK.kind) > 0.9
    assert max(right.values()) < 0.8
