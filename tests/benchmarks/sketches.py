"""What monitoring costs a request: the time to count it, by number of features, alone and in batches; and to merge windows.

`python tests/benchmarks/sketches.py`
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from ray_mlops.monitoring.sketches import Sketch, baseline_of

ROUNDS, CALLS = 15, 400
CHANNELS = ("chip", "online", "contactless")


def main() -> None:
    """Print microseconds a request, the median and the worst of some rounds."""
    print(f"{'features':>8} {'requests at once':>16} {'us a request':>13} {'worst round':>12}")
    for features in (10, 50, 200):
        for size in (1, 64):
            sketch, request = _counting(features, size)
            middle, worst = _timed(lambda s=sketch, r=request: s.add(*r), size)
            print(f"{features:>8} {size:>16} {middle:>13.2f} {worst:>12.2f}")
    one, other = _counting(50, 1)[0], _counting(50, 1)[0]
    middle, worst = _timed(lambda: one.merge(other), 1)
    print(f"merging two sketches of 50 features: {middle:.1f} us, {one.layout.size} counts")
    rows = np.random.default_rng(1).lognormal(3, 1, (1_000_000, 50)).astype(np.float32)
    began = time.perf_counter()
    one.add_features(rows)
    print(f"a million rows of 50 features at once: {time.perf_counter() - began:.2f} s")


def _counting(features: int, size: int) -> tuple[Sketch, tuple]:
    random = np.random.default_rng(0)
    names = [f"f{number}" for number in range(features)]
    rows = random.lognormal(3, 1, (5_000, features)).astype(np.float32)
    scores = random.beta(0.5, 5, 5_000)
    channels = random.choice(CHANNELS, 5_000).tolist()
    decided = np.where(scores > 0.3, "review", "approve").tolist()
    text = {"channel": channels}
    known = baseline_of(names, rows, scores, decisions=decided, inputs=text, slices=text)
    request = (rows[:size], scores[:size].tolist(), decided[:size], [{"channel": one} for one in channels[:size]])
    return Sketch(known, names), request


def _timed(work: Callable[[], object], size: int) -> tuple[float, float]:
    """Microseconds a request: the median round and the slowest."""
    for _ in range(20):
        work()
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            work()
        rounds.append((time.perf_counter() - began) / CALLS / size * 1e6)
    return statistics.median(rounds), max(rounds)


if __name__ == "__main__":
    main()
