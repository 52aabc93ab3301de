"""Fixed-edge histograms of features, scores and decisions: made at training time, updated live, merged at will.

A `Baseline` travels in the bundle. A `Sketch` counts live values on the edges of that baseline: a few tenths of a
microsecond a value, lossless to merge across replicas and time, and comparable with the baseline without its data.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ray_mlops.contract import Frozen
from ray_mlops.errors import DataError

SHARES = (*(step / 10 for step in range(1, 10)), 0.95, 0.99)  # deciles, and the tail where fraud hides
FEW = 20  # a column of at most this many distinct values gets a bin for each


class Distribution(Frozen):
    """Counts over fixed edges. `counts[i]` are the values in `[edges[i - 1], edges[i])`, hence one more than edges: the
    first lies below all that was seen at training time, the last above. `missing` are nulls and NaN."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int = 0

    @classmethod
    def of(cls, values: np.ndarray) -> "Distribution":
        """The distribution of a training column `(rows,)`, on edges chosen from it."""
        histogram = Histogram(_edges(_float32(values)))
        histogram.add(values)
        return histogram.distribution()

    @property
    def cells(self) -> tuple[int, ...]:
        """All counts, the missing values last."""
        return (*self.counts, self.missing)

    @property
    def rows(self) -> int:
        return sum(self.cells)

    @property
    def outside_share(self) -> float:
        """The share of rows below or above all that was seen at training time."""
        return (self.counts[0] + self.counts[-1]) / max(self.rows, 1)

    @property
    def missing_share(self) -> float:
        return self.missing / max(self.rows, 1)


class Baseline(Frozen):
    """What the training and validation data looked like: a distribution per feature and of the score, and how many rows
    got each decision. Its JSON is `baseline.json` of the bundle."""

    features: Mapping[str, Distribution]
    score: Distribution
    decisions: Mapping[str, int] = {}

    @classmethod
    def of(
        cls, names: Sequence[str], X: np.ndarray, scores: np.ndarray, *, decisions: Iterable[str] = ()
    ) -> "Baseline":
        """From features `(rows, len(names))`, and from scores and decisions of rows the model was not fitted on."""
        if X.ndim != 2 or X.shape[1] != len(names):
            raise DataError(f"a baseline of {len(names)} features needs a matrix of as many columns, not {X.shape}")
        features = {name: Distribution.of(X[:, index]) for index, name in enumerate(names)}
        return cls(features=features, score=Distribution.of(scores), decisions=dict(sorted(Counter(decisions).items())))


class Histogram:
    """A live count on fixed edges. Values are float32, as the model reads them, so that equal ones meet in one bin."""

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(self.edges) + 1)
        self.missing = 0

    def update(self, value: float | None) -> None:
        """Count one value; None and NaN are missing."""
        if value is None or math.isnan(value):
            self.missing += 1
        else:
            self.counts[bisect_right(self.edges, value)] += 1

    def add(self, values: np.ndarray) -> None:
        """Count many values `(rows,)` at once; they are rounded to float32."""
        values = _float32(values)
        present = values[~np.isnan(values)]
        found = np.bincount(np.searchsorted(self.edges, present, side="right"), minlength=len(self.counts))
        self.counts = [count + more for count, more in zip(self.counts, found.tolist(), strict=True)]
        self.missing += len(values) - len(present)

    def merge(self, other: "Histogram") -> None:
        """Add the counts of another histogram on the same edges; DataError when they differ."""
        if other.edges != self.edges:
            raise DataError("two histograms merge only on the same edges: these come from different model versions")
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.missing += other.missing

    def distribution(self) -> Distribution:
        return Distribution(edges=self.edges, counts=tuple(self.counts), missing=self.missing)


class Sketch:
    """What a replica has seen, on the edges of its bundle's baseline."""

    def __init__(self, baseline: Baseline) -> None:
        self.requests = 0
        self.features = {name: Histogram(known.edges) for name, known in baseline.features.items()}
        self.score = Histogram(baseline.score.edges)
        self.decisions: dict[str, int] = {}

    def update(self, features: Mapping[str, float | None], score: float, decision: str) -> None:
        """Count one scored request; a feature that it does not carry is missing."""
        self.requests += 1
        for name, histogram in self.features.items():
            histogram.update(features.get(name))
        self.score.update(score)
        self.decisions[decision] = self.decisions.get(decision, 0) + 1

    def add(self, features: np.ndarray, scores: np.ndarray, decisions: Iterable[str]) -> None:
        """Count many requests: features `(rows, features)` in the order of the baseline, scores, decisions."""
        self.requests += len(features)
        for column, histogram in zip(features.T, self.features.values(), strict=True):
            histogram.add(column)
        self.score.add(scores)
        for decision, count in Counter(decisions).items():
            self.decisions[decision] = self.decisions.get(decision, 0) + count

    def merge(self, other: "Sketch") -> None:
        """Add what another replica, or another window of time, has seen."""
        self.requests += other.requests
        for name, histogram in self.features.items():
            histogram.merge(other.features[name])
        self.score.merge(other.score)
        for decision, count in other.decisions.items():
            self.decisions[decision] = self.decisions.get(decision, 0) + count

    def to_baseline(self) -> Baseline:
        """The same counts as a value, for keeping and comparing."""
        features = {name: histogram.distribution() for name, histogram in self.features.items()}
        return Baseline(features=features, score=self.score.distribution(), decisions=self.decisions)


def _float32(values: np.ndarray) -> np.ndarray:
    """Rounded to float32, in float64."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def _edges(values: np.ndarray) -> tuple[float, ...]:
    """Where the bins of float64 values begin: each of a few distinct values, else quantiles; then above the largest."""
    finite = np.sort(values[np.isfinite(values)])
    if not len(finite):
        return (0.0,)
    fresh = np.concatenate(([True], finite[1:] != finite[:-1]))
    places = (np.array([0.0, *SHARES]) * (len(finite) - 1)).astype(int)
    starts = finite[fresh] if np.count_nonzero(fresh) <= FEW else np.unique(finite[places])
    return (*starts.tolist(), float(np.nextafter(finite[-1], np.inf)))
