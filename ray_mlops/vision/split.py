"""Train, validation and test of images: by class, seeded, and never with a group or a duplicate on two sides."""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from ray_mlops.contract import Frozen

PARTS: tuple[Literal["train"], Literal["validation"], Literal["test"]] = ("train", "validation", "test")
OUT = -1  # in no part


class Split(Frozen):
    """Shares of the labelled images that judge a fit (`validation`) and the model (`test`); the others train.

    Where the data come with a test set of their own, `test_keys` is the beginning of its keys (`test/`): then these are
    the test part, and what is a duplicate of one of them, or of its group, is left out elsewhere.
    """

    validation: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.15, gt=0, lt=1)
    test_keys: str = ""

    @model_validator(mode="after")
    def _something_is_left(self) -> "Split":
        if self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation:g} and test {self.test:g} leave nothing to train on")
        return self


def units(*ties: np.ndarray) -> np.ndarray:
    """Number rows `(rows,)` so that those tied together share a number, also by way of others.

    Each tie gives a value per row; equal values tie, None ties nothing.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = len(ties[0])
    ends, count = [], rows
    for tie in ties:
        known = np.flatnonzero([value is not None for value in tie])
        values, codes = np.unique(tie[known].astype(str), return_inverse=True)
        ends.append((known, codes + count))
        count += len(values)
    left, right = (np.concatenate([end[side] for end in ends]) for side in (0, 1))
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    return connected_components(graph, directed=False)[1][:rows]


def assign(labels: np.ndarray, tied: np.ndarray, split: Split, *, seed: int, given: np.ndarray) -> np.ndarray:
    """The place in `PARTS` of each row, or `OUT`, `(rows,)` int8.

    `labels` are class places, `tied` numbers from `units`, `given` marks the rows of a test set that is already there.
    The same rows in the same order get the same parts. Each class keeps the shares up to one row as far as ties allow.
    """
    random = np.random.default_rng(seed)
    tied = np.unique(tied, return_inverse=True)[1]
    order = random.permutation(tied.max() + 1)[tied]
    if not given.any():
        return _shares(labels, order, (split.validation, split.test))
    bound = np.isin(order, order[given])
    parts = np.full(len(labels), OUT, np.int8)
    parts[~bound] = _shares(labels[~bound], order[~bound], (split.validation, 0.0))
    parts[given] = PARTS.index("test")
    return parts


def _shares(labels: np.ndarray, tied: np.ndarray, shares: tuple[float, float]) -> np.ndarray:
    """Tied rows first, where they are missed most; then single rows fill each class up."""
    classes = np.bincount(labels)
    wanted = np.array([np.round(classes * share) for share in shares])
    wanted += (wanted == 0) & (classes >= len(PARTS)) & (np.array(shares)[:, None] > 0)
    sizes = np.bincount(tied, minlength=tied.max(initial=-1) + 1)
    parts = np.zeros(len(labels), np.int8)
    together = np.flatnonzero(sizes[tied] > 1)
    for rows in _runs(tied, together):
        counts = np.bincount(labels[rows], minlength=len(classes))
        filled = np.minimum(wanted, counts).sum(axis=1)
        need = np.where(2 * filled > len(rows), wanted.sum(axis=1), 0)  # where more is filled than overfilled
        if need.any():
            part = int(need.argmax())
            wanted[part] = np.maximum(wanted[part] - counts, 0)
            parts[rows] = part + 1
    single = np.flatnonzero(sizes[tied] == 1)
    single = single[np.lexsort((tied[single], labels[single]))]
    rank = np.arange(len(single)) - np.searchsorted(labels[single], labels[single])
    first, second = wanted[0][labels[single]], wanted[1][labels[single]]
    parts[single] = np.where(rank < first, 1, np.where(rank < first + second, 2, 0))
    return parts


def _runs(tied: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """The rows of each tie, in the order of the numbers, which is random."""
    if not len(rows):
        return []
    rows = rows[np.argsort(tied[rows], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(tied[rows])) + 1)
