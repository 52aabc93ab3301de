"""How far a picture lies, where the model sees it, from the training pictures that were answered alike."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

REFERENCE = "embedding.safetensors"
_LEAST_SPREAD = 0.1  # of the mean one: a dimension in which training hardly moved must not drown the others
_LEAST_SHARE = 1e-9

Seen = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Reference:
    """The mean embedding of each class `(classes, dimensions)` in training, and the spread around it `(dimensions,)`."""

    means: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, parts: Iterable[Seen]) -> "Reference":
        """From embeddings `(rows, dimensions)` and the class that each was answered with, `(rows, classes)` probabilities."""
        counts, sums, squares = 0.0, 0.0, 0.0
        for probabilities, embeddings in parts:
            chosen = np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]
            counts = counts + chosen.sum(axis=0)
            sums = sums + chosen.T @ embeddings.astype(np.float64)
            squares = squares + (embeddings.astype(np.float64) ** 2).sum(axis=0)
        counts, sums = np.asarray(counts), np.asarray(sums)
        means = sums / np.maximum(counts, 1)[:, None]
        means[counts == 0] = sums.sum(axis=0) / max(counts.sum(), 1)
        within = squares - (counts[:, None] * means**2).sum(axis=0)
        spread = np.sqrt(np.maximum(within, 0) / max(counts.sum(), 1))
        least = _LEAST_SPREAD * spread.mean() or 1.0
        return cls(means.astype(np.float32), np.maximum(spread, least).astype(np.float32))

    @classmethod
    def read(cls, path: str) -> "Reference":
        """Read what `write` wrote."""
        from safetensors.numpy import load_file

        return cls(**load_file(path))

    def write(self, path: str) -> None:
        """Write it as safetensors."""
        from safetensors.numpy import save_file

        save_file({"means": self.means, "spread": self.spread}, path)

    def distances(self, seen: Seen) -> np.ndarray:
        """Of pictures with these probabilities and embeddings the distance to the mean of their class in units of the spread,
        the root mean square over the dimensions: `(rows,)` float32, about 1 in training."""
        probabilities, embeddings = seen
        steps = (embeddings - self.means[probabilities.argmax(axis=1)]) / self.spread
        return np.sqrt((steps**2).mean(axis=1)).astype(np.float32)


def by_answers(probabilities: np.ndarray) -> np.ndarray:
    """The embedding `(rows, classes)` of a model that gives none: the logarithms of its probabilities, around their mean."""
    logs = np.log(np.maximum(probabilities, _LEAST_SHARE))
    return (logs - logs.mean(axis=1, keepdims=True)).astype(np.float32)
