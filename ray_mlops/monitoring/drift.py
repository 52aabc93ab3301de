"""Has a distribution moved? An effect size, and what chance alone would give at this sample size.

The population stability index (PSI) of two samples of the *same* distribution is not 0: with B bins and n and m rows it
is `(B - 1) (1/n + 1/m)` on average, and `PSI / (1/n + 1/m)` follows a chi-squared law with B - 1 degrees of freedom. An
alarm therefore asks for both: an effect above `limit` on top of that average, and a value that chance alone would reach
with probability below `false_alarms / comparisons`. Below `MIN_ROWS` rows no statement is made. Requests are taken as
independent; traffic from few entities varies more than that.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from ray_mlops.contract import Frozen
from ray_mlops.monitoring.sketches import Baseline, Distribution

MIN_ROWS = 50


class Rule(Frozen):
    """When to raise an alarm: a PSI effect above `limit`, and at most `false_alarms` alarms a comparison of a whole
    baseline when nothing has changed."""

    limit: float = 0.2
    false_alarms: float = 0.01


class Shift(Frozen):
    """One comparison. `expected` is what chance gives on average, `threshold` what `psi` must exceed for an alarm."""

    name: str
    of: Literal["score", "feature", "decision"]
    rows: int
    psi: float
    expected: float
    threshold: float
    alarm: bool
    ks: float = 0.0
    outside_share: float = 0.0
    missing_share: float = 0.0
    missing_share_before: float = 0.0

    def __str__(self) -> str:
        return f"{self.of} {self.name}: PSI {self.psi:.2f} is above {self.threshold:.2f}"


def compare(before: Baseline, now: Baseline, rule: Rule) -> list[Shift]:
    """Score, decisions and features of live traffic against the baseline, the furthest over its threshold first."""
    comparisons = len(before.features) + 1 + bool(before.decisions)
    chance = rule.false_alarms / comparisons
    shifts = [_distributions("score", "score", (before.score, now.score), rule, chance)]
    if before.decisions:
        shifts.append(_decisions(before.decisions, now.decisions, rule, chance))
    for name, known in before.features.items():
        shifts.append(_distributions(name, "feature", (known, now.features[name]), rule, chance))
    return sorted(shifts, key=lambda shift: (shift.threshold - shift.psi, shift.name))


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


def chance_level(bins: int, rows: tuple[int, int], probability: float) -> tuple[float, float]:
    """The PSI that chance gives on average, and the one it exceeds with `probability`, when nothing has changed."""
    from scipy.special import chdtri  # the chi-squared quantile; `scipy.stats` takes a second to import

    if bins < 2 or not all(rows):
        return 0.0, 0.0
    scale = 1 / rows[0] + 1 / rows[1]
    return (bins - 1) * scale, float(chdtri(bins - 1, probability)) * scale


def kolmogorov_smirnov(before: np.ndarray, now: np.ndarray) -> float:
    """The largest difference of the two cumulative shares over the same ordered bins."""
    if not before.sum() or not now.sum():
        return 0.0
    return float(np.abs(np.cumsum(before) / before.sum() - np.cumsum(now) / now.sum()).max())


def _distributions(
    name: str, of: Literal["score", "feature"], pair: tuple[Distribution, Distribution], rule: Rule, chance: float
) -> Shift:
    before, now = pair
    shift = _shift(name, of, (np.array(before.cells, float), np.array(now.cells, float)), rule, chance)
    return shift.model_copy(
        update={
            "ks": kolmogorov_smirnov(np.array(before.counts), np.array(now.counts)),
            "outside_share": now.outside_share,
            "missing_share": now.missing_share,
            "missing_share_before": before.missing_share,
        }
    )


def _decisions(before: Mapping[str, int], now: Mapping[str, int], rule: Rule, chance: float) -> Shift:
    names = sorted({*before, *now})
    counts = tuple(np.array([part.get(name, 0) for name in names], float) for part in (before, now))
    return _shift("decisions", "decision", (counts[0], counts[1]), rule, chance)


def _shift(
    name: str,
    of: Literal["score", "feature", "decision"],
    counts: tuple[np.ndarray, np.ndarray],
    rule: Rule,
    chance: float,
) -> Shift:
    before, now = counts
    rows = int(before.sum()), int(now.sum())
    found = psi(before, now)
    expected, rare = chance_level(int(((before + now) > 0).sum()), rows, chance)
    threshold = max(rule.limit + expected, rare)
    alarm = min(rows) >= MIN_ROWS and found > threshold
    return Shift(name=name, of=of, rows=rows[1], psi=found, expected=expected, threshold=threshold, alarm=alarm)
