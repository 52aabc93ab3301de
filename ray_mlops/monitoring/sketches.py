"""Counts of what a model is asked and answers: one vector of whole numbers, some microseconds a request.

Where each number lies is decided by the baseline in the bundle. So sketches of replicas and of windows of time merge by
addition, in any order and without loss, and compare with the baseline without its data.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ray_mlops.errors import DataError
from ray_mlops.monitoring.baseline import (
    OTHER,
    Baseline,
    Distribution,
    Slice,
    Values,
    bands_of,
    edges_of,
    frequent,
    quarters,
)

Key = tuple[str, str]
REQUESTS, DEGRADED, REFUSED = ("requests", ""), ("degraded", ""), ("refused", "")
SCORE, DECISIONS = ("score", ""), ("decisions", "")


class Layout:
    """Where the counts of a baseline lie in a vector: the span of each kind of count and name."""

    def __init__(self, baseline: Baseline) -> None:
        self.features = sorted(baseline.features)
        self.decisions = sorted(set(baseline.decisions) - {OTHER})
        self.inputs = {name: sorted(baseline.inputs[name].counts) for name in sorted(baseline.inputs)}
        self.slices = {name: sorted(baseline.slices[name]) for name in sorted(baseline.slices)}
        self.edges = [baseline.features[name].edges for name in self.features]
        self.score = baseline.score.edges
        scores, decisions = len(self.score) + 2, len(self.decisions) + 1
        sizes: dict[Key, int] = {REQUESTS: 1, DEGRADED: 1, REFUSED: 1}
        sizes |= {("feature", name): len(edges) + 2 for name, edges in zip(self.features, self.edges, strict=True)}
        sizes |= {SCORE: scores, DECISIONS: decisions}
        sizes |= {("input", name): len(values) + 2 for name, values in self.inputs.items()}
        # The values of a slice that training did not have are counted together, as its last.
        sizes |= {("slice", name): (len(values) + 1) * (scores + decisions) for name, values in self.slices.items()}
        ends = list(accumulate(sizes.values()))
        self.size = ends[-1]
        self.spans = {key: slice(end - size, end) for (key, size), end in zip(sizes.items(), ends, strict=True)}

    def start(self, key: Key) -> int:
        """Where the counts of a key begin."""
        return self.spans[key].start


class Sketch:
    """What has been seen, on the edges of a baseline. `counts` is the vector, int64; `names` the features in the order of
    the rows that are added (default: as in the baseline, sorted)."""

    def __init__(self, baseline: Baseline, names: Sequence[str] = (), counts: Iterable[int] | None = None) -> None:
        from ray_mlops.monitoring.counting import count  # numba, which only those who count need

        self._count, self.baseline, self.layout = count, baseline, Layout(baseline)
        layout = self.layout
        self.counts = np.zeros(layout.size, np.int64) if counts is None else np.array(counts, np.int64)
        if self.counts.shape != (layout.size,):
            raise DataError(f"a sketch of this baseline has {layout.size} counts, not {len(self.counts)}")
        order = list(names) or layout.features
        if missing := sorted(set(layout.features) - set(order)):
            raise DataError(f"the baseline has features that the model does not: {', '.join(missing)}")
        self._columns = np.array([order.index(name) for name in layout.features], np.int64)
        self._edges = np.array([edge for edges in layout.edges for edge in edges], np.float64)
        self._starts = np.cumsum([0, *(len(edges) for edges in layout.edges)]).astype(np.int64)
        self._cells = np.array([layout.start(("feature", name)) for name in layout.features], np.int64)
        self._decided = {name: place for place, name in enumerate(layout.decisions)}
        self._known = [
            (name, layout.start(("input", name)), {value: place for place, value in enumerate(values)})
            for name, values in layout.inputs.items()
        ]
        self._sliced = [
            (name, layout.start(("slice", name)), _finder(values, baseline.bands.get(name, ())))
            for name, values in layout.slices.items()
        ]

    @property
    def requests(self) -> int:
        """How many answers of the model were counted."""
        return int(self.counts[0])

    @property
    def degraded(self) -> int:
        """How many answers were given without the model; nothing else is known of them."""
        return int(self.counts[1])

    @property
    def refused(self) -> int:
        """How many requests were refused for what they brought."""
        return int(self.counts[2])

    def add(
        self,
        rows: np.ndarray,
        scores: Sequence[float],
        decisions: Sequence[str],
        events: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Count requests: feature rows `(requests, features)` float32, score and decision of each, and what was sent."""
        self.counts[0] += len(rows)
        self.add_features(rows)
        self.add_answers(scores, decisions, events)
        for name, start, places in self._known:
            for event in events:
                value = event.get(name)
                self.counts[start + (len(places) + 1 if value is None else places.get(str(value), len(places)))] += 1

    def add_features(self, rows: np.ndarray) -> None:
        """Count feature rows alone."""
        self._count(
            np.ascontiguousarray(rows, np.float32), self._columns, self._edges, self._starts, self._cells, self.counts
        )

    def add_answers(
        self, scores: Sequence[float], decisions: Sequence[str], events: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Count scores and decisions alone, in all and by slice of their events."""
        counts, layout = self.counts, self.layout
        first, told = layout.start(SCORE), layout.start(DECISIONS)
        unknown, bins = len(layout.decisions), len(layout.score) + 2
        width = bins + unknown + 1
        edges, rounded = layout.score, np.asarray(scores, np.float32).tolist()
        for place, (score, decision) in enumerate(zip(rounded, decisions, strict=True)):
            bin_ = bins - 1 if math.isnan(score) else bisect_right(edges, score)
            choice = self._decided.get(decision, unknown)
            counts[first + bin_] += 1
            counts[told + choice] += 1
            for name, start, find in self._sliced if events else ():
                row = start + width * find(events[place].get(name))
                counts[row + bin_] += 1
                counts[row + bins + choice] += 1

    def degrade(self, requests: int) -> None:
        """Count answers that were given without the model."""
        self.counts[1] += requests

    def refuse(self, requests: int) -> None:
        """Count requests that were no legal ones."""
        self.counts[2] += requests

    def merge(self, other: "Sketch") -> None:
        """Add what another replica, or another window of time, has seen; DataError where the edges differ."""
        mine, theirs = self.layout, other.layout
        if (mine.spans, mine.edges, mine.score) != (theirs.spans, theirs.edges, theirs.score):
            raise DataError("two sketches merge only on the same edges: these come from different model versions")
        self.counts += other.counts

    def to_baseline(self) -> Baseline:
        """The same counts as a value, for comparing."""
        layout = self.layout
        found = {key: self.counts[span].tolist() for key, span in layout.spans.items()}
        return Baseline(
            features={
                name: _distribution(edges, found["feature", name])
                for name, edges in zip(layout.features, layout.edges, strict=True)
            },
            score=_distribution(layout.score, found[SCORE]),
            decisions=_decisions(layout, found[DECISIONS]),
            inputs={name: _values(values, found["input", name]) for name, values in layout.inputs.items()},
            slices={name: self._slices(name, values) for name, values in layout.slices.items()},
        )

    def _slices(self, name: str, values: Sequence[str]) -> dict[str, Slice]:
        layout, bins = self.layout, len(self.layout.score) + 2
        matrix = self.counts[layout.spans["slice", name]].reshape(len(values) + 1, -1)
        return {
            value: Slice(score=tuple(row[:bins]), decisions=_decisions(layout, row[bins:]))
            for value, row in zip(values, matrix.tolist(), strict=False)
        }


def _finder(values: Sequence[str], edges: Sequence[float]) -> Callable[[Any], int]:
    """Where a value lies among those of a slice; behind the last where it is none of them."""
    places = {value: place for place, value in enumerate(values)}
    if not edges:
        return lambda value: len(places) if value is None else places.get(str(value), len(places))
    among = [places[name] for name in quarters(edges)]
    return lambda value: len(places) if value is None else among[bisect_left(edges, value)]


def baseline_of(
    names: Sequence[str],
    X: np.ndarray,
    scores: np.ndarray,
    *,
    decisions: Sequence[str] = (),
    actions: Sequence[str] = (),
    inputs: Mapping[str, Sequence[object]] | None = None,
    slices: Mapping[str, Sequence[object]] | None = None,
) -> Baseline:
    """A baseline from features `(rows, len(names))` and the text columns `inputs`; and from scores, decisions and the
    columns `slices` of rows that the model was not fitted on. `actions` are all decisions it may give."""
    if X.ndim != 2 or X.shape[1] != len(names):
        raise DataError(f"a baseline of {len(names)} features needs a matrix of as many columns, not {X.shape}")
    told, slices = decisions if len(decisions) else [OTHER] * len(scores), slices or {}
    bands = {name: edges for name, column in slices.items() if (edges := bands_of(column))}
    empty = Baseline(
        features={name: _empty(edges_of(X[:, place])) for place, name in enumerate(names)},
        score=_empty(edges_of(scores)),
        decisions=dict.fromkeys((*actions, *decisions), 0),
        unselected=actions[0] if actions else "",
        inputs={name: Values.of(column) for name, column in (inputs or {}).items()},
        slices={
            name: {
                value: Slice(score=(), decisions={})
                for value in (quarters(bands[name]) if name in bands else frequent(column))
            }
            for name, column in slices.items()
        },
        bands=bands,
    )
    sketch = Sketch(empty, names)
    sketch.add_features(X)
    columns = {name: list(column) for name, column in slices.items()}
    events = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    sketch.add_answers(scores.tolist(), list(told), events)
    found = sketch.to_baseline()
    told = found.decisions if len(decisions) else {}
    kept = {"inputs": empty.inputs, "unselected": empty.unselected, "bands": bands}
    return found.model_copy(update={**kept, "decisions": told})


def _empty(edges: tuple[float, ...]) -> Distribution:
    return Distribution(edges=edges, counts=(0,) * (len(edges) + 1))


def _distribution(edges: tuple[float, ...], cells: Sequence[int]) -> Distribution:
    return Distribution(edges=edges, counts=tuple(cells[:-1]), missing=cells[-1])


def _values(values: Sequence[str], cells: Sequence[int]) -> Values:
    return Values(counts=dict(zip(values, cells, strict=False)), other=cells[-2], missing=cells[-1])


def _decisions(layout: Layout, cells: Sequence[int]) -> dict[str, int]:
    other = {OTHER: cells[-1]} if cells[-1] else {}
    return dict(zip(layout.decisions, cells, strict=False)) | other
