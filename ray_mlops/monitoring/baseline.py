"""What the data of training looked like, as counts on fixed edges: `baseline.json` of a bundle."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ray_mlops.contract import Frozen

SHARES = (*(step / 10 for step in range(1, 10)), 0.95, 0.99)  # deciles, and the tail where fraud hides
FEW = 20  # a column of at most this many distinct values gets a bin for each
MOST_VALUES = 200  # of a text column; the rarer ones are counted together
MOST_SLICES = 20
OTHER = "other"  # a decision that the model could not give when its baseline was made


class Distribution(Frozen):
    """Counts over fixed edges. `counts[i]` are the values in `[edges[i - 1], edges[i])`, hence one more than edges: the
    first lies below all that was seen at training time, the last above. `missing` are nulls and NaN."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int = 0

    @property
    def cells(self) -> tuple[int, ...]:
        """All counts, the missing values last."""
        return (*self.counts, self.missing)

    @property
    def rows(self) -> int:
        return sum(self.cells)

    @property
    def outside(self) -> int:
        """Rows below or above all that was seen at training time."""
        return self.counts[0] + self.counts[-1]


class Values(Frozen):
    """How often a text column has each of the most frequent values of training, another one, or none."""

    counts: Mapping[str, int]
    other: int = 0
    missing: int = 0

    @classmethod
    def of(cls, column: Iterable[object]) -> "Values":
        """The values of a training column; None is missing."""
        seen = Counter(None if value is None else str(value) for value in column)
        missing = seen.pop(None, 0)
        # By count, then by text: the same whatever the order of the rows.
        kept = dict(sorted(seen.items(), key=lambda one: (-one[1], str(one[0])))[:MOST_VALUES])
        named = {str(value): count for value, count in sorted(kept.items(), key=str)}
        return cls(counts=named, other=sum(seen.values()) - sum(kept.values()), missing=missing)

    @property
    def cells(self) -> tuple[int, ...]:
        """All counts: the values in the order of their names, others, missing ones."""
        return (*(self.counts[name] for name in sorted(self.counts)), self.other, self.missing)


class Slice(Frozen):
    """The scores of a part of the rows, `cells` on the edges of all scores, and its decisions."""

    score: tuple[int, ...]
    decisions: Mapping[str, int]

    @property
    def rows(self) -> int:
        return sum(self.score)


class Baseline(Frozen):
    """What the training and validation data looked like: a distribution per feature and of the score, and how many rows
    got each decision (`unselected` is the one that changes nothing for anybody); the values of text columns; scores and
    decisions by slice, a column and the values it has, or the quarters that end at its `bands`; and how important each feature
    was for the scores."""

    features: Mapping[str, Distribution]
    score: Distribution
    decisions: Mapping[str, int] = {}
    unselected: str = ""
    inputs: Mapping[str, Values] = {}
    slices: Mapping[str, Mapping[str, Slice]] = {}
    bands: Mapping[str, tuple[float, ...]] = {}
    importance: Mapping[str, float] = {}

    def slice_of(self, column: str, value: Any) -> str:
        """The slice of a column that a value belongs to: itself, or its quarter."""
        edges = self.bands.get(column, ())
        return quarters(edges)[bisect_left(edges, value)] if edges and value is not None else str(value)


def edges_of(values: np.ndarray) -> tuple[float, ...]:
    """Where the bins of values begin, which are rounded to float32 as a model reads them: each of a few distinct values,
    else quantiles; then above the largest."""
    rounded = np.asarray(values, dtype=np.float32).astype(np.float64)
    finite = np.sort(rounded[np.isfinite(rounded)])
    if not len(finite):
        return (0.0,)
    fresh = np.concatenate(([True], finite[1:] != finite[:-1]))
    places = (np.array([0.0, *SHARES]) * (len(finite) - 1)).astype(int)
    starts = finite[fresh] if np.count_nonzero(fresh) <= FEW else np.unique(finite[places])
    return (*starts.tolist(), float(np.nextafter(finite[-1], np.inf)))


def bands_of(column: Sequence[Any]) -> tuple[float, ...]:
    """Where the quarters of a column of many numbers end; nothing for any other column."""
    known = [value for value in column if value is not None]
    if not all(isinstance(value, int | float) for value in known):
        return ()
    finite = [value for value in known if np.isfinite(value)]
    if len(set(finite)) <= FEW:
        return ()
    return tuple({f"{edge:.4g}": edge for edge in np.quantile(finite, (0.25, 0.5, 0.75)).tolist()}.values())


def quarters(edges: Sequence[float]) -> tuple[str, ...]:
    """The names of the parts between edges; each holds its upper one."""
    bounds = [f"{edge:.4g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(bounds)]
    return (f"up to {bounds[0]}", *between, f"over {bounds[-1]}")


def frequent(column: Sequence[object]) -> tuple[str, ...]:
    """The most frequent values of a column to be sliced by, in the order of their names."""
    seen = Counter(str(value) for value in column if value is not None)
    kept = sorted(seen, key=lambda value: (-seen[value], value))[:MOST_SLICES]
    return tuple(sorted(kept))
