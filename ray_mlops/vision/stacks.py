"""Pictures of one size as one array `(rows, height, width, channels)`: many small ones take hardly longer than one."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import numpy as np
from PIL import Image

Found = TypeVar("Found")
Size = tuple[int, int]  # (height, width)
_MOST_ROWS, _MOST_PIXELS = 1 << 10, 1 << 18  # what a cache holds


def in_shares(pixels: Sequence[int | None], work: Callable[[slice], Found], threads: int) -> list[Found]:
    """What `work` makes of each share of neighbouring rows, in order; at least one share, if an empty one.

    `pixels` are the sizes that the files claim: a share is what may be decoded at the same time, and what a thread does,
    because threads that exchange one small picture at a time would mostly wait for one another.
    """
    shares = list(_shares(pixels))
    if threads == 1 or len(shares) == 1:
        return [work(share) for share in shares]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, shares))


def _shares(pixels: Sequence[int | None]) -> Iterator[slice]:
    start = total = 0
    for place, count in enumerate(pixels):
        if place > start and (place - start == _MOST_ROWS or total + (count or 0) > _MOST_PIXELS):
            yield slice(start, place)
            start, total = place, 0
        total += count or 0
    yield slice(start, len(pixels))


def stacked(pictures: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures `(height, width, channels)` by size: the places `(rows,)` of those of one size, and their array."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        places.setdefault(picture.shape, []).append(place)
    for alike in places.values():
        yield np.array(alike), np.stack([pictures[place] for place in alike])


def resized(pixels: np.ndarray, size: Size, how: Image.Resampling) -> np.ndarray:
    """Each picture `(rows, height, width, channels)` uint8 in another (height, width), as Pillow makes it of it alone.

    Pillow goes along the rows and along the columns one after the other: on top of one another, or side by side, pictures
    do not touch.
    """
    if _widens_first(pixels.shape[1:3], size, how):
        return _heightened(_widened(pixels, size[1], how), size[0], how)
    return _widened(_heightened(pixels, size[0], how), size[1], how)


@lru_cache(maxsize=1024)
def _widens_first(before: Size, after: Size, how: Image.Resampling) -> bool:
    """The order in which Pillow goes, which its versions choose differently and rounding makes visible."""
    noise = np.random.default_rng(0).integers(0, 256, (1, *before, 1), dtype=np.uint8)
    alone = np.asarray(_picture(noise[0]).resize((after[1], after[0]), how))
    return bool((_heightened(_widened(noise, after[1], how), after[0], how)[0, :, :, 0] == alone).all())


def _widened(pixels: np.ndarray, wide: int, how: Image.Resampling) -> np.ndarray:
    rows, high, before, channels = pixels.shape
    tall = _picture(pixels.reshape(rows * high, before, channels)).resize((wide, rows * high), how)
    return np.asarray(tall).reshape(rows, high, wide, channels)


def _heightened(pixels: np.ndarray, high: int, how: Image.Resampling) -> np.ndarray:
    rows, before, wide, channels = pixels.shape
    beside = pixels.swapaxes(0, 1).reshape(before, rows * wide, channels)
    broad = _picture(beside).resize((rows * wide, high), how)
    return np.asarray(broad).reshape(high, rows, wide, channels).swapaxes(0, 1)


def grey(pixels: np.ndarray) -> np.ndarray:
    """The luminance of each picture, `(rows, height, width, 1)` uint8."""
    rows, high, wide, channels = pixels.shape
    if channels == 1:
        return pixels
    tall = _picture(pixels.reshape(rows * high, wide, channels))
    return np.asarray(tall.convert("L")).reshape(rows, high, wide, 1)


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
