"""Pictures made worse on purpose."""

import numpy as np
import pytest

from ray_mlops.vision.robustness import blurred, brightened, compressed, spoilers

RANDOM = np.random.default_rng(3)
PICTURES = {channels: RANDOM.integers(0, 256, (3, 24, 20, channels), dtype=np.uint8) for channels in (1, 3)}


@pytest.mark.parametrize("channels", [1, 3])
def test_every_spoiler_changes_pixels_and_nothing_else(channels: int) -> None:
    pictures = PICTURES[channels]
    kinds = set()
    for kind, _, spoil in spoilers():
        found = spoil(pictures)
        assert found.shape == pictures.shape and found.dtype == np.uint8
        assert (found != pictures).any(), kind
        kinds.add(kind)
    assert kinds == {"brightness", "blur", "jpeg"}


def test_a_stronger_spoiler_does_more_harm() -> None:
    def harm(found: np.ndarray) -> float:
        return float(np.abs(found.astype(int) - PICTURES[1]).mean())

    assert harm(blurred(PICTURES[1], 0.01)) < harm(blurred(PICTURES[1], 0.1))
    assert harm(compressed(PICTURES[1], 90)) < harm(compressed(PICTURES[1], 10))
    assert harm(brightened(PICTURES[1], 0.9)) < harm(brightened(PICTURES[1], 0.5))


def test_brightness_stops_at_white() -> None:
    assert brightened(np.array([[[[200]]]], np.uint8), 2.0).item() == 255
