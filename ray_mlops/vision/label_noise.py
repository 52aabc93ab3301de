"""Labels in doubt: images whose nearest neighbours agree on another class than the one they are labelled with."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_AT_ONCE = 512
_VARIANCE = 0.95
_MOST_COMPONENTS = 48


class Doubt(NamedTuple):
    """An image by its row, the place of the class its neighbours have, and the share of them that have it."""

    row: int
    likelier: int
    share: float


def doubts(pixels: np.ndarray, labels: np.ndarray, units: np.ndarray, *, neighbours: int, share: float) -> list[Doubt]:
    """The images, of small `pixels` `(rows, height, width, channels)` uint8, of whose `neighbours` nearest at least a
    `share` has one other class, and almost none its own; the surest first.

    Images of one of the `units` `(rows,)`, a group or a cluster of twins, are no neighbours of each other.
    """
    if len(labels) <= neighbours:
        return []
    found, points = [], _projected(pixels)
    for start in range(0, len(points), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(points)))
        found += _of(rows, _nearest(points, rows, units, neighbours), labels, share)
    return sorted(found, key=lambda doubt: (-doubt.share, doubt.row))


def torn(labels: Sequence[str | None], units: np.ndarray) -> list[int]:
    """Rows of clusters of twins whose labels differ: at most one of the labels is right."""
    known = np.array([label is not None for label in labels])
    rows = np.flatnonzero(known)
    codes = np.unique(np.array([labels[row] for row in rows.tolist()], dtype=str), return_inverse=True)[1]
    places = np.unique(units, return_inverse=True)[1][rows]
    count = int(places.max(initial=-1)) + 1
    low, high = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(low, places, codes)
    np.maximum.at(high, places, codes)
    return rows[(low < high)[places]].tolist()


def _projected(pixels: np.ndarray) -> np.ndarray:
    """Principal components of the pixels, `(rows, components)` float32."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float32) / 255
    flat -= flat.mean(axis=0)
    values, vectors = np.linalg.eigh(flat.T @ flat / len(flat))
    share = np.cumsum(values[::-1]) / max(float(values.sum()), 1e-12)
    count = min(int(np.searchsorted(share, _VARIANCE)) + 1, _MOST_COMPONENTS, flat.shape[1])
    return flat @ vectors[:, ::-1][:, :count]


def _nearest(points: np.ndarray, rows: np.ndarray, units: np.ndarray, neighbours: int) -> np.ndarray:
    """The nearest rows of each of some rows, `(some, neighbours)`."""
    squares = (points**2).sum(axis=1)
    apart = squares[rows][:, None] + squares[None] - 2 * points[rows] @ points.T
    apart[units[rows][:, None] == units[None]] = np.inf
    return np.argpartition(apart, neighbours - 1, axis=1)[:, :neighbours]


def _of(rows: np.ndarray, nearest: np.ndarray, labels: np.ndarray, share: float) -> list[Doubt]:
    classes = int(labels.max()) + 1
    places = np.arange(len(rows))
    votes = np.bincount(
        (places[:, None] * classes + labels[nearest]).reshape(-1), minlength=len(rows) * classes
    ).reshape(len(rows), classes)
    own = votes[places, labels[rows]] / nearest.shape[1]
    votes[places, labels[rows]] = 0
    likelier, most = votes.argmax(axis=1), votes.max(axis=1) / nearest.shape[1]
    chosen = np.flatnonzero((most >= share) & (own <= 1 - share))
    return [Doubt(int(rows[at]), int(likelier[at]), float(most[at])) for at in chosen]
