"""The highest rate that an endpoint holds: doubled until it does not, then narrowed down."""

from collections.abc import Callable

from ray_mlops.contract import Frozen
from ray_mlops.serving.load.step import Step

Measure = Callable[[float], Step]


class Bounds(Frozen):
    """What an endpoint must hold, and how it is looked for: from `start` requests a second to at most `most`, until the
    highest rate that holds and the lowest that does not are within `precision` of one another."""

    p99_ms: float
    error_share: float = 0.001
    start: float = 20.0
    most: float = 20_000.0
    precision: float = 0.1


class Found(Frozen):
    """`rate` is the highest that held, None when the first did not; `breaks` the lowest that did not, None when all held."""

    rate: float | None
    breaks: float | None
    steps: tuple[Step, ...]

    @property
    def best(self) -> Step | None:
        """What was seen at `rate`."""
        return next((step for step in self.steps if step.rate == self.rate), None)


def ramp(measure: Measure, bounds: Bounds) -> Found:
    """Ask for steps at rising rates, then between the last that held and the first that did not.

    A step that does not hold is asked for once more: a single pause of the machine is not the endpoint's limit.
    """
    steps: list[Step] = []

    def holds(rate: float) -> bool:
        for _ in range(2):
            steps.append(measure(rate))
            if steps[-1].holds(bounds.p99_ms, bounds.error_share):
                return True
            if steps[-1].cut_short:
                return False
        return False

    good, bad, rate = None, None, min(bounds.start, bounds.most)
    while bad is None and good != bounds.most:
        good, bad = (rate, bad) if holds(rate) else (good, rate)
        rate = min(2 * rate, bounds.most)
    while good and bad and bad - good > bounds.precision * good:
        middle = float(f"{(good * bad) ** 0.5:.3g}")
        if middle in (good, bad):
            break
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return Found(rate=good, breaks=bad, steps=tuple(steps))
