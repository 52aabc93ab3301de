"""Hand rules: readable conditions on at most two features, found by an exhaustive search over round thresholds.

Every feature is cut at a few round values near the quantiles of all rows and of the positives. For each pair of
features one two-way table of counts then answers every rule on the pair, with `and` and with `or`, so the search costs
one pass over the rows a pair and looks at tens of thousands of rules a second.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ray_mlops.algorithms.ranking import divide
from ray_mlops.contract import Condition, Rule
from ray_mlops.errors import DataError

_ALL = np.r_[0.02, 0.05, 0.1, np.arange(0.2, 0.85, 0.1), 0.9, 0.95, 0.98, 0.99, 0.995, 0.999]
_POSITIVE = np.linspace(0.05, 0.95, 13)
_SAMPLE = 50_000
_FEW_VALUES = 24  # a feature with no more is cut at every value
_WORTH_A_CONDITION = 0.01  # a second condition has to bring one per cent, or it only makes the rule harder to read


def flags(rule: Rule, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which rows the rule catches, bool `(rows,)`. Numbers are compared as float32, the type of feature columns; a
    missing value (NaN, None) meets no condition. Raises `DataError` when a column of the rule is not there."""
    met = [_meets(condition, columns) for condition in rule.conditions]
    return np.logical_and.reduce(met) if rule.join == "and" else np.logical_or.reduce(met)


def _meets(condition: Condition, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    if condition.column not in columns:
        raise DataError(f"the rule reads column {condition.column!r}, which is not among {', '.join(columns)}")
    values = columns[condition.column]
    if isinstance(condition.value, str):
        return np.asarray(values, dtype=object) == condition.value
    values, limit = np.asarray(values, dtype=np.float32), np.float32(condition.value)
    if condition.operator == "==":
        return values == limit
    return values >= limit if condition.operator == ">=" else values < limit


def spoken(rule: Rule) -> str:
    """The rule as a person would say it; a one-hot feature `shop=x` is read as the column and its value."""
    return f" {rule.join} ".join(_spoken(condition) for condition in rule.conditions)


def _spoken(condition: Condition) -> str:
    column, one_hot, value = condition.column.partition("=")
    if not one_hot or condition.operator != "==":
        return str(condition)
    return f"{column} is {value}" if condition.value == 1 else f"{column} is not {value}"


@dataclass(frozen=True)
class _Cut:
    """A feature cut into bins: the bin of each row (the last one for missing values), and its conditions as rows of a
    0/1 matrix over the bins, `(conditions, bins)`."""

    codes: np.ndarray
    bins: int
    conditions: tuple[Condition, ...]
    members: np.ndarray


@dataclass(frozen=True)
class _Judge:
    """What a rule is judged on: positives, the money an alert on each of them saves before the cost of its review."""

    positives: np.ndarray  # row numbers
    stolen: np.ndarray  # of those rows
    review: float
    rows: int

    def tables(self, cells: np.ndarray, size: int) -> np.ndarray:
        """Rows, positives and stolen money by cell, `(3, size)`."""
        hit = cells[self.positives]
        counted = (np.bincount(cells, minlength=size), np.bincount(hit, minlength=size))
        return np.stack([*counted, np.bincount(hit, weights=self.stolen, minlength=size)]).astype(np.float64)

    def savings(self, sums: np.ndarray) -> np.ndarray:
        """Money saved by alerting sets of rows with these sums, `(3, …)`."""
        return sums[2] - self.review * sums[0]

    def average_precision(self, sums: np.ndarray) -> np.ndarray:
        """Average precision of ranking the set first and all else after it."""
        recall = sums[1] / max(len(self.positives), 1)
        return recall * divide(sums[1], sums[0], empty=0.0) + (1 - recall) * len(self.positives) / self.rows


def find_rule(
    names: Sequence[str], matrix: np.ndarray, labels: np.ndarray, *, stolen: np.ndarray, review: float, widest: int = 20
) -> Rule | None:
    """The rule that saves most money on these rows or, where no rule saves any, ranks best by average precision.

    `matrix` is `(rows, features)`, `stolen` the money a missed row costs, `(rows,)`, `review` the cost of an alert;
    pairs are formed of the `widest` best single features. None when no feature varies or there is no positive.
    """
    positives = np.flatnonzero(np.asarray(labels) > 0)
    judge = _Judge(positives, np.asarray(stolen)[positives], review, len(matrix))
    cuts = [_cut(name, np.ascontiguousarray(column), positives) for name, column in zip(names, matrix.T, strict=True)]
    cuts = [cut for cut in cuts if cut.conditions]
    if not cuts or not len(positives):
        return None
    rule, saved = _best(cuts, judge, judge.savings, widest)
    return rule if saved > 0 else _best(cuts, judge, judge.average_precision, widest)[0]


def _best(
    cuts: list[_Cut], judge: _Judge, value: Callable[[np.ndarray], np.ndarray], widest: int
) -> tuple[Rule, float]:
    """The rule of highest value, and that value."""
    singles = [cut.members @ judge.tables(cut.codes, cut.bins).T for cut in cuts]
    order = sorted(range(len(cuts)), key=lambda i: -float(value(singles[i].T).max()))[:widest]
    first = value(singles[order[0]].T)
    rule, best = Rule(conditions=(cuts[order[0]].conditions[int(first.argmax())],)), float(first.max())
    bar = best + _WORTH_A_CONDITION * abs(best)
    for one, other, joint in _pairs(cuts, order, judge):
        either = singles[one].T[:, :, None] + singles[other].T[:, None, :] - joint
        joins: tuple[tuple[Literal["and", "or"], np.ndarray], ...] = (("and", joint), ("or", either))
        for join, sums in joins:
            worth = value(sums)
            where = int(worth.argmax())
            if worth.flat[where] > bar:
                best = bar = float(worth.flat[where])
                i, j = np.unravel_index(where, worth.shape)
                rule = Rule(conditions=(cuts[one].conditions[i], cuts[other].conditions[j]), join=join)
    return rule, best


def _pairs(cuts: list[_Cut], order: list[int], judge: _Judge) -> Iterator[tuple[int, int, np.ndarray]]:
    """Pairs of features (also a feature with itself: a band) with the sums of each conjunction of their conditions,
    `(3, conditions, conditions)`."""
    for position, one in enumerate(order):
        a = cuts[one]
        scaled = {bins: a.codes * bins for bins in {cuts[other].bins for other in order[position:]}}
        for other in order[position:]:
            b = cuts[other]
            tables = judge.tables(scaled[b.bins] + b.codes, a.bins * b.bins)
            yield one, other, a.members @ tables.reshape(3, a.bins, b.bins) @ b.members.T


def _cut(name: str, values: np.ndarray, positives: np.ndarray) -> _Cut:
    known = ~np.isnan(values)
    edges = _edges(values[known], values[positives][known[positives]])
    codes = np.searchsorted(edges, values, side="right")
    codes[~known] = len(edges) + 1
    bins = len(edges) + 2
    cells = np.arange(bins)
    conditions, members = [], []
    for position, edge in enumerate(edges):
        above = (cells > position) & (cells < bins - 1)
        below = cells <= position
        conditions += [Condition(column=name, operator=">=", value=_plain(edge))]
        conditions += [Condition(column=name, operator="<", value=_plain(edge))]
        members += [above, below]
    binary = _binary(values[known])
    if binary and len(edges) == 1:
        equal = (binary[1], binary[0])
        conditions = [Condition(column=name, operator="==", value=value) for value in equal]
    return _Cut(codes, bins, tuple(conditions), np.array(members, dtype=np.float64).reshape(-1, bins))


def _binary(values: np.ndarray) -> tuple[float, float] | None:
    """The two values of a feature that has only two."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    return (low, high) if low < high and np.all((values == low) | (values == high)) else None


def _edges(values: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Round values near the quantiles (all values where there are few), float32, rising, with rows on both sides."""
    if not len(values):
        return np.empty(0, dtype=np.float32)
    low, high = values.min(), values.max()
    sample = values[:: max(len(values) // _SAMPLE, 1)]
    found = np.unique(sample)
    if len(found) > _FEW_VALUES:
        found = np.quantile(sample, _ALL, method="higher")
    rare = np.quantile(positive, _POSITIVE, method="higher") if len(positive) else positive
    edges = _rounded(np.unique(np.r_[found, rare, high]))
    return edges[(edges > low) & (edges <= high)]


def _rounded(values: np.ndarray) -> np.ndarray:
    """The values with as few digits as still tell most of them apart."""
    for digits in (2, 3, 4, 6):
        rounded = np.unique(np.array([float(f"{value:.{digits}g}") for value in values], dtype=np.float32))
        if len(rounded) >= 0.75 * len(values):
            return rounded
    return np.unique(values.astype(np.float32))


def _plain(edge: np.float32) -> float:
    """The shortest decimal that is this float32: 0.1, not 0.10000000149."""
    return float(str(edge))
