"""Has a distribution moved? Effect sizes, and what chance alone would give at this sample size.

The population stability index (PSI) of two samples of the *same* distribution is not 0: with B bins and n and m rows it
is `(B - 1) (1/n + 1/m)` on average, and `PSI / (1/n + 1/m)` follows a chi-squared law with B - 1 degrees of freedom. The
effect is what lies above that average. Requests are taken as independent; traffic from few entities varies more than that.

Beside it stand, from the same bins: the largest difference of the cumulative shares (KS), the Jensen-Shannon distance (0 to 1,
base 2) and the Wasserstein distance in units of the range between the smallest value and the 99th percentile of training.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.monitoring import chance
from ray_mlops.monitoring.baseline import Baseline, Distribution
from ray_mlops.monitoring.readings import Reading


class Limits(Frozen):
    """How large an effect is too large: any of these. KS and JS are never above 1."""

    psi: float = Field(default=0.2, gt=0)
    ks: float = Field(default=1.0, gt=0)
    js: float = Field(default=1.0, gt=0)
    wasserstein: float = Field(default=1.0, gt=0)


def compare(before: Baseline, now: Baseline, limits: Limits) -> Iterator[Reading]:
    """Score, decisions, features and text columns of live traffic against the baseline."""
    yield _distributions("score", before.score, now.score, limits)
    if before.decisions:
        names = sorted({*before.decisions, *now.decisions})
        cells = [[part.get(name, 0) for name in names] for part in (before.decisions, now.decisions)]
        yield reading("decisions", cells[0], cells[1], limits)
    for name, known in before.features.items():
        yield _distributions(f"feature {name}", known, now.features[name], limits)
    for name, values in before.inputs.items():
        yield reading(f"column {name}", values.cells, now.inputs[name].cells, limits)


def reading(
    name: str, before: Sequence[int], now: Sequence[int], limits: Limits, more: Mapping[str, float] | None = None
) -> Reading:
    """The comparison of two vectors of counts over the same cells; `more` are the measures of ordered ones."""
    counts = np.array(before, float), np.array(now, float)
    rows = int(counts[0].sum()), int(counts[1].sum())
    found = psi(*counts)
    scale = 1 / rows[0] + 1 / rows[1] if all(rows) else math.inf
    degrees = int(((counts[0] + counts[1]) > 0).sum()) - 1
    expected = degrees * scale if all(rows) else 0.0
    measures = {"psi": found, "expected": expected, "js": jensen_shannon(*counts), **(more or {})}
    # Each measure as a share of its limit: what is furthest over its own decides.
    effects = {"psi": found - expected, "js": measures["js"], "ks": measures.get("ks", 0.0)}
    effects["wasserstein"] = measures.get("wasserstein", 0.0)
    worst = max(effects, key=lambda one: effects[one] / getattr(limits, one))
    limit = getattr(limits, worst)
    return Reading(
        monitor="data drift",
        name=name,
        rows=rows[1],
        effect=effects[worst],
        limit=limit,
        chance=chance.chi_squared(found / scale, degrees) if all(rows) else 1.0,
        words=f"{worst.upper() if worst != 'wasserstein' else worst} {measures[worst]:.2f}, limit {limit:g}"
        + (f" above the {expected:.2f} of chance" if worst == "psi" else ""),
        measures=measures,
    )


def psi(before: np.ndarray, now: np.ndarray) -> float:
    """Population stability index of two vectors of counts over the same bins.

    Each bin is given half a row, or what the other sample makes one expect where that is less; a bin that is empty in
    both says nothing. This keeps the index finite and its chance level where the theory has it.
    """
    n, m = before.sum(), now.sum()
    if not n or not m:
        return 0.0
    p = before + np.minimum(0.5, now * (n / m))
    q = now + np.minimum(0.5, before * (m / n))
    filled = p > 0
    p, q = p[filled] / p.sum(), q[filled] / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def kolmogorov_smirnov(before: np.ndarray, now: np.ndarray) -> float:
    """The largest difference of the two cumulative shares over the same ordered bins."""
    if not before.sum() or not now.sum():
        return 0.0
    return float(np.abs(_gap(before, now)).max())


def jensen_shannon(before: np.ndarray, now: np.ndarray) -> float:
    """The Jensen-Shannon distance of two vectors of counts, 0 to 1 (base 2)."""
    if not before.sum() or not now.sum():
        return 0.0
    p, q = before / before.sum(), now / now.sum()
    middle = (p + q) / 2
    divergence = sum(float((part[part > 0] * np.log2(part[part > 0] / middle[part > 0])).sum()) for part in (p, q)) / 2
    return math.sqrt(max(divergence, 0.0))


def wasserstein(edges: Sequence[float], before: np.ndarray, now: np.ndarray) -> float:
    """How far the rows have moved on average, in units of the range of training; what is outside it counts as at its ends."""
    if not before.sum() or not now.sum() or len(edges) < 2:
        return 0.0
    gap = _gap(before, now)[: len(edges)]  # at each edge; between two of them it is a straight line
    left, right = np.abs(gap[:-1]), np.abs(gap[1:])
    crossing = (left**2 + right**2) / np.maximum(2 * (left + right), 1e-300)
    moved = float((np.where(gap[:-1] * gap[1:] < 0, crossing, (left + right) / 2) * np.diff(edges)).sum())
    spread = edges[-2] - edges[0]
    return moved / spread if spread > 0 else 0.0


def _gap(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    return np.cumsum(now) / now.sum() - np.cumsum(before) / before.sum()


def _distributions(name: str, before: Distribution, now: Distribution, limits: Limits) -> Reading:
    counts = np.array(before.counts, float), np.array(now.counts, float)
    ordered = {"ks": kolmogorov_smirnov(*counts), "wasserstein": wasserstein(before.edges, *counts)}
    return reading(name, before.cells, now.cells, limits, ordered)
