"""Wrong labels are found, right ones are left alone."""

import numpy as np

from ray_mlops.vision.label_noise import doubts, torn

RANDOM = np.random.default_rng(0)
LABELS = np.repeat(np.arange(3), 60)
PIXELS = np.clip(RANDOM.normal(60 + 60 * LABELS[:, None, None, None], 12, (180, 6, 6, 1)), 0, 255).astype(np.uint8)


def test_exchanged_labels_are_found_with_the_likelier_one() -> None:
    given = LABELS.copy()
    given[[5, 70, 170]] = [2, 0, 1]
    found = doubts(PIXELS, given, np.arange(180), neighbours=10, share=0.8)
    assert {(doubt.row, doubt.likelier) for doubt in found} == {(5, 0), (70, 1), (170, 2)}
    assert doubts(PIXELS, LABELS, np.arange(180), neighbours=10, share=0.8) == []


def test_images_of_one_unit_do_not_vouch_for_each_other() -> None:
    given, units = LABELS.copy(), np.arange(180)
    given[:6], units[:6] = 2, 0
    pixels = PIXELS.copy()
    pixels[:6] = pixels[0]
    found = {doubt.row for doubt in doubts(pixels, given, units, neighbours=5, share=0.8)}
    assert found >= set(range(6))
    vouched = {doubt.row for doubt in doubts(pixels, given, np.arange(180), neighbours=5, share=0.8)}
    assert not vouched & set(range(6))


def test_too_few_images_say_nothing() -> None:
    assert doubts(PIXELS[:5], LABELS[:5], np.arange(5), neighbours=10, share=0.9) == []


def test_twins_with_two_labels_are_torn() -> None:
    units = np.array(["a", "a", "b", "b", "c", "c"], object)
    assert torn(["x", "y", "x", "x", "x", None], units) == [0, 1]
    assert torn([], np.empty(0, object)) == []
