"""Pictures of one size together come to the same as each alone, to the last bit."""

import threading

import numpy as np
import pytest
from PIL import Image

from ray_mlops.vision.stacks import grey, in_shares, resized, stacked


def alone(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


@pytest.mark.parametrize("how", [Image.Resampling.BILINEAR, Image.Resampling.BOX])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (5, 40), (13, 17)])
@pytest.mark.parametrize("shape", [(13, 17, 3), (28, 28, 1), (1, 9, 3), (64, 48, 1)])
def test_pictures_are_resized_as_each_alone(shape: tuple[int, int, int], size: tuple[int, int], how) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (4, *shape), dtype=np.uint8)
    expected = [np.asarray(alone(one).resize((size[1], size[0]), how)).reshape(*size, shape[2]) for one in pictures]
    assert (resized(pictures, size, how) == np.stack(expected)).all()


def test_pictures_become_grey_as_each_alone() -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (3, 9, 7, 3), dtype=np.uint8)
    assert (grey(pictures)[..., 0] == np.stack([np.asarray(alone(one).convert("L")) for one in pictures])).all()
    assert (grey(pictures[..., :1]) == pictures[..., :1]).all()


def test_pictures_of_one_size_are_put_together() -> None:
    shapes = [(2, 3, 1), (4, 4, 1), (2, 3, 1), (3, 2, 1)]
    pictures = [np.full(shape, place, np.uint8) for place, shape in enumerate(shapes)]
    found = {pixels.shape: (places.tolist(), pixels[:, 0, 0, 0].tolist()) for places, pixels in stacked(pictures)}
    assert found == {(2, 2, 3, 1): ([0, 2], [0, 2]), (1, 4, 4, 1): ([1], [1]), (1, 3, 2, 1): ([3], [3])}
    assert not list(stacked([]))


@pytest.mark.parametrize("threads", [1, 3])
def test_every_row_is_in_one_share_and_large_pictures_are_few_at_once(threads: int) -> None:
    sizes = [64] * 3_000 + [None, 3_000_000, 3_000_000, 50_000_000] + [64] * 10
    shares = in_shares(sizes, lambda share: share, threads)
    assert [place for share in shares for place in range(share.start, share.stop)] == list(range(len(sizes)))
    assert max(share.stop - share.start for share in shares) <= 1_024
    assert all(len(sizes[share]) == 1 for share in shares if max(size or 0 for size in sizes[share]) > 1_000_000)
    assert in_shares([], lambda share: share, threads) == [slice(0, 0)]


def test_shares_are_worked_on_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=30)
    assert len(in_shares([5_000_000, 5_000_000], lambda share: meeting.wait(), 2)) == 2
