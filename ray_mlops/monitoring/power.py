"""How well one column alone tells positives from negatives, from counts per value or bin."""

from dataclasses import dataclass

import numpy as np

GROUPS = 30
TAILS = (0.001, 0.005, 0.01)  # fraud hides in the tails, so the ends are cut finer
SMALLEST_GROUP = 30  # rows; smaller groups would find patterns in noise


@dataclass(frozen=True)
class Distribution:
    """Rows and positives at ascending values (or bins); `missing` rows are a value of their own."""

    values: np.ndarray
    counts: np.ndarray
    positives: np.ndarray
    missing: int = 0
    missing_positives: int = 0

    def quantile(self, share: float) -> float:
        """The least value with at least `share` of the present rows at or below it; NaN without rows."""
        if not len(self.values):
            return np.nan
        reached = np.cumsum(self.counts)
        return float(self.values[np.searchsorted(reached, share * reached[-1] * (1 - 1e-12))])

    def histogram(self, edges: np.ndarray) -> np.ndarray:
        """Rows in `[edges[i], edges[i + 1])`, the last bin closed."""
        place = np.searchsorted(edges, self.values, side="right") - 1
        place[self.values == edges[-1]] = len(edges) - 2
        inside = (place >= 0) & (place < len(edges) - 1)
        return np.bincount(place[inside], weights=self.counts[inside], minlength=len(edges) - 1).astype(np.int64)

    def grouped(self) -> "Distribution":
        """Neighbouring groups: single values where they are few, else about 36 of similar size. `values` are the least
        value of each."""
        if not len(self.values):
            return self
        reached = np.cumsum(self.counts)
        starts = _wide_enough(_cuts(reached), reached)
        return Distribution(
            self.values[starts],
            np.add.reduceat(self.counts, starts),
            np.add.reduceat(self.positives, starts),
            self.missing,
            self.missing_positives,
        )

    def with_missing(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and positives per value, the missing rows last."""
        counts = np.append(self.counts, self.missing)
        return counts, np.append(self.positives, self.missing_positives)


def ranking_power(counts: np.ndarray, positives: np.ndarray) -> tuple[float, float]:
    """ROC AUC and average precision of groups ranked from the first (most suspicious) to the last; ties count half.

    NaN where there are no positives or no negatives.
    """
    negatives = counts - positives
    hits, rivals = positives.sum(), negatives.sum()
    if not hits or not rivals:
        return np.nan, np.nan
    caught = np.cumsum(positives)
    auc = float((negatives * (caught - positives / 2)).sum() / (hits * rivals))
    looked_at = np.maximum(np.cumsum(counts), 1)
    return auc, float((positives * (caught / looked_at)).sum() / hits)


def ordered_power(distribution: Distribution) -> tuple[str, float, float]:
    """(`higher` | `lower`, AUC, AP): the better direction of the value itself, missing values least suspicious."""
    counts, positives = distribution.with_missing()
    up = np.append(np.arange(len(counts) - 1)[::-1], len(counts) - 1)
    higher, lower = ranking_power(counts[up], positives[up]), ranking_power(counts, positives)
    return ("lower", *lower) if lower[0] > higher[0] else ("higher", *higher)


def shaped_power(distribution: Distribution) -> tuple[float, float]:
    """AUC and AP when groups of the value (missing rows being one) are ranked by their own rate of positives.

    This finds what is not monotone. It is measured on the rows that set the rates, hence slightly flattering.
    """
    counts, positives = distribution.with_missing()
    filled = counts > 0
    counts, positives = counts[filled], positives[filled]
    order = np.argsort(-positives / counts, kind="stable")
    return ranking_power(counts[order], positives[order])


def _cuts(reached: np.ndarray) -> np.ndarray:
    """Where groups may begin, from the cumulative counts."""
    if len(reached) <= GROUPS:
        return np.arange(len(reached))
    shares = sorted({*TAILS, *(1 - tail for tail in TAILS), *(step / GROUPS for step in range(1, GROUPS))})
    cuts = np.unique([0, *(np.searchsorted(reached, np.multiply(shares, reached[-1])) + 1)])
    return cuts[cuts < len(reached)]


def _wide_enough(starts: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """The starts that leave every group, the last one too, with enough rows; the first is always kept."""
    before = np.concatenate(([0], reached))
    kept = [int(starts[0])]
    for start in starts[1:]:
        enough = before[start] - before[kept[-1]] >= SMALLEST_GROUP
        if enough and reached[-1] - before[start] >= SMALLEST_GROUP:
            kept.append(int(start))
    return np.array(kept)
