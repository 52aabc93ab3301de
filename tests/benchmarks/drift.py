"""Drift of many rows: `python tests/benchmarks/drift.py [--rows 10000000] [--features 20]`.

Ours counts the rows on the edges of the baseline, as replicas do, and compares the counts. `scipy` sorts the values
themselves, feature by feature, as a library for drift does: the two-sample Kolmogorov-Smirnov statistic and the Wasserstein
distance. A sixth of the features has moved. Both must find the same ones, and our KS, which is read from bins, must come within 0.01.
Prints a table and, last, one JSON line.
"""

import argparse
import json
import time

import numpy as np
from scipy.stats import ks_2samp, wasserstein_distance

from ray_mlops.monitoring.drift import Limits, compare
from ray_mlops.monitoring.sketches import Sketch, baseline_of

TRAINED, SCORED, CHUNK, MOVED, SHIFT = 1_000_000, 10_000, 1_000_000, 6, 1.25
TOLERANCE = 0.01


def drawn(number: int, rows: int, *, moved: bool) -> np.ndarray:
    """The values of a feature, the same whenever they are drawn: log-normal, every sixth larger where it has moved."""
    random = np.random.default_rng((number, rows, moved))
    values = random.lognormal(3, 1, rows).astype(np.float32)
    return values * np.float32(SHIFT) if moved and number % MOVED == 0 else values


def ours(names: list[str], before: np.ndarray, now: np.ndarray) -> tuple[dict[str, float], float, float]:
    """KS by feature, and the seconds to count and to compare."""
    scores = np.linspace(0, 1, SCORED)
    sketch = Sketch(baseline_of(names, before, scores), names)
    sketch.add_features(now[:1])  # compiled
    began = time.perf_counter()
    sketch = Sketch(sketch.baseline, names)
    for start in range(0, len(now), CHUNK):
        sketch.add_features(now[start : start + CHUNK])
    counted = time.perf_counter()
    readings = {found.name: found for found in compare(sketch.baseline, sketch.to_baseline(), Limits())}
    return (
        {name: readings[f"feature {name}"].measures["ks"] for name in names},
        counted - began,
        time.perf_counter() - counted,
    )


def scipy(names: list[str], before: np.ndarray, now: np.ndarray) -> tuple[dict[str, float], float]:
    """KS by feature, and the seconds with the Wasserstein distance."""
    began, found = time.perf_counter(), {}
    for place, name in enumerate(names):
        found[name] = float(ks_2samp(before[:, place], now[:, place], method="asymp").statistic)  # pyright: ignore
        wasserstein_distance(before[:, place], now[:, place])
    return found, time.perf_counter() - began


def main() -> None:
    """Both on the same rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--features", type=int, default=20)
    asked = parser.parse_args()
    names = [f"f{number:02}" for number in range(asked.features)]
    before, now = (
        np.stack([drawn(number, rows, moved=moved) for number in range(asked.features)], axis=1)
        for rows, moved in ((TRAINED, False), (asked.rows, True))
    )
    found, counted, compared = ours(names, before, now)
    wanted, sorted_s = scipy(names, before, now)
    print(
        f"{'':<8}{'seconds':>9}\n{'count':<8}{counted:>9.2f}\n{'compare':<8}{compared:>9.3f}\n{'scipy':<8}{sorted_s:>9.2f}"
    )
    worst = max(abs(found[name] - wanted[name]) for name in names)
    moved = [name for name in names if found[name] > TOLERANCE]
    if worst > TOLERANCE or moved != [name for name in names if wanted[name] > TOLERANCE]:
        raise SystemExit(f"the sides do not agree: {worst:.4f} at most, moved {moved}")
    figures = {"count": round(counted, 2), "compare": round(compared, 3), "scipy": round(sorted_s, 2)}
    print(json.dumps({"rows": asked.rows, "features": asked.features, "seconds": figures, "ks_gap": round(worst, 5)}))


if __name__ == "__main__":
    main()
