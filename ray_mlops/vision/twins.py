"""Which pictures are the same picture: equal files, and those that differ by size, compression or a little light.

Candidates are near in the perceptual hash, found by bands of its bits that agree; they count where the pictures,
reduced to 8 x 8, agree too: hashes alone would unite different pictures of one composition, as digits are.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ray_mlops.vision import stacks
from ray_mlops.vision.perceptual_hash import BITS, distances

SKETCH_SIDE = 8
_PAIRS_AT_ONCE = 1 << 18
_RELATIVE, _LEAST, _LIGHT = 0.1, 1.0, 24.0
"""How far sketches of one picture lie apart: in shares of their contrast, at least in levels; and in mean level."""


class Twins(NamedTuple):
    """`cluster` numbers the pictures so that twins share a number, `(rows,)`; `exact` and `near` count the rows that
    have an equal file, and those that have only a similar picture."""

    cluster: np.ndarray
    exact: int
    near: int


def sketch(pixels: np.ndarray) -> np.ndarray:
    """Pictures `(rows, height, width, channels)` uint8 reduced to `(8, 8, channels)`, each flat: `(rows, values)`."""
    return stacks.resized(pixels, (SKETCH_SIDE, SKETCH_SIDE), Image.Resampling.BOX).reshape(len(pixels), -1)


def find(files: np.ndarray, looks: np.ndarray, sketches: np.ndarray, *, bits: int) -> Twins:
    """Cluster pictures by the hashes of their `files` `(rows,)`, their perceptual hashes `looks` `(rows,)` int64 and
    their `sketches` `(rows, values)` uint8; hashes of twins differ in at most `bits` of 64."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, first, which, counts = np.unique(files, return_index=True, return_inverse=True, return_counts=True)
    looks, sketches = looks[first], sketches[first]
    found = [pairs[_alike(sketches, pairs)] for pairs in near_pairs(looks, bits)]
    left, right = np.concatenate([np.empty((0, 2), np.int64), *found]).T
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(first), len(first)))
    cluster = connected_components(graph, directed=False)[1][which]
    exact = counts[which] > 1
    near = (np.bincount(cluster)[cluster] > 1) & ~exact
    return Twins(cluster, int(exact.sum()), int(near.sum()))


def named(cluster: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """For each row the least key of its cluster."""
    order = np.argsort(keys)
    first = np.unique(cluster[order], return_index=True)[1]
    return keys[order][first][cluster]


def listed(cluster: np.ndarray, keys: np.ndarray, labels: np.ndarray) -> list[dict[Any, str | None]]:
    """Key and label of the rows of each cluster of more than one, the largest clusters first."""
    order = np.lexsort((keys.astype(str), cluster))
    ends = np.flatnonzero(np.diff(cluster[order])) + 1
    groups = [rows for rows in np.split(order, ends) if len(rows) > 1]
    groups.sort(key=lambda rows: (-len(rows), keys[rows[0]]))
    names, told = keys.tolist(), labels.tolist()
    return [{names[row]: told[row] for row in rows.tolist()} for rows in groups]


def near_pairs(looks: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    """Pairs of places `(pairs, 2)` of hashes that differ in at most `bits`; one may come more than once.

    Of `bits + 2` bands at least two agree between such hashes, so that only within two equal bands is compared. Equal
    hashes are paired in a chain: that is enough to hold them together.
    """
    _, first, which = np.unique(looks, return_index=True, return_inverse=True)
    order = np.argsort(which, kind="stable")
    same = which[order[1:]] == which[order[:-1]]
    yield np.stack([order[:-1][same], order[1:][same]], axis=1)
    distinct = looks[first].view(np.uint64)
    edges = np.linspace(0, BITS, bits + 3).astype(int)
    masks = [np.uint64((1 << high) - (1 << low)) for low, high in pairwise(edges.tolist())]
    for one, other in combinations(masks, 2):
        for pairs in _together(_within(distinct & (one | other))):
            yield first[pairs[distances(distinct[pairs[:, 0]], distinct[pairs[:, 1]]) <= bits]]


def _together(parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same pairs, as many in one array as are worth looking at."""
    some, count = [], 0
    for part in parts:
        some.append(part)
        count += len(part)
        if count >= _PAIRS_AT_ONCE:
            yield np.concatenate(some)
            some, count = [], 0
    if some:
        yield np.concatenate(some)


def _within(band: np.ndarray) -> Iterator[np.ndarray]:
    """All pairs of places with equal values."""
    order = np.argsort(band, kind="stable")
    band, step = band[order], 1
    at = np.arange(len(band) - 1)
    while len(at := at[at + step < len(band)]):
        at = at[band[at] == band[at + step]]
        yield np.stack([order[at], order[at + step]], axis=1)
        step += 1


def _alike(sketches: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    one, other = (sketches[pairs[:, side]].astype(np.float32) for side in (0, 1))
    light = one.mean(axis=1) - other.mean(axis=1)
    apart = (one - other - light[:, None]).std(axis=1)
    contrast = np.minimum(one.std(axis=1), other.std(axis=1))
    return (apart <= np.maximum(_LEAST, _RELATIVE * contrast)) & (np.abs(light) <= _LIGHT)
