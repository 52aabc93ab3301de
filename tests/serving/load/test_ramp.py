"""The search for the rate that an endpoint holds, and the size that a rate needs: without any endpoint."""

from collections.abc import Callable

import numpy as np
import pytest

from ray_mlops import load_commands
from ray_mlops.errors import ConfigError
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.load.ramp import Bounds, ramp
from ray_mlops.serving.load.step import Step, due_times, summary
from ray_mlops.serving.sizes import SIZES, Size, recommend


def endpoint(capacity: float) -> Callable[[float], Step]:
    """Measures a made-up endpoint whose answers are late above `capacity` requests a second."""

    def measure(rate: float) -> Step:
        late = 10.0 if rate <= capacity else 100.0
        return Step(
            rate=rate, seconds=1, sent=1000, answered_per_s=rate, p50_ms=5, p99_ms=late, cut_short=rate > 2 * capacity
        )

    return measure


@pytest.mark.parametrize("capacity", [25, 333, 4_999])
def test_the_highest_rate_that_holds_is_found(capacity: float) -> None:
    found = ramp(endpoint(capacity), Bounds(p99_ms=50))
    assert found.rate and found.breaks and found.best
    assert found.rate <= capacity < found.breaks <= 1.11 * found.rate
    assert found.best.rate == found.rate and len(found.steps) < 25


def test_what_holds_everything_and_what_holds_nothing() -> None:
    assert ramp(endpoint(1e9), Bounds(p99_ms=50, most=100)).model_dump(exclude={"steps"}) == {
        "rate": 100,
        "breaks": None,
    }
    nothing = ramp(endpoint(1), Bounds(p99_ms=50))
    assert (nothing.rate, nothing.breaks, nothing.best) == (None, 20, None)


def test_a_single_pause_is_not_the_limit() -> None:
    paused = iter([True])
    measured = endpoint(100)
    found = ramp(lambda rate: measured(150 if rate == 40 and next(paused, False) else rate), Bounds(p99_ms=50))
    assert found.rate and found.rate > 80


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"errors": {"status 503": 1}}, True),
        ({"errors": {"status 503": 1, "degraded": 1}}, False),
        ({"p99_ms": 50.1}, False),
        ({"p99_ms": None}, False),
        ({"cut_short": True}, False),
    ],
)
def test_a_step_holds_with_latency_and_errors_within_the_limits(change: dict, holds: bool) -> None:
    step = Step(rate=1, seconds=1, sent=1000, answered_per_s=1, p99_ms=50).model_copy(update=change)
    assert step.holds(50, 0.001) is holds


def test_requests_arrive_at_the_rate_as_those_of_independent_callers_do() -> None:
    times = due_times(500, 10, seed=1)
    assert len(times) == 5000 and np.all(np.diff(times) > 0) and times[-1] == pytest.approx(10)
    assert np.diff(times).std() == pytest.approx(1 / 500, rel=0.1)
    assert not np.array_equal(times, due_times(500, 10, seed=2))


def test_percentiles_are_of_those_that_were_answered() -> None:
    step = summary([place / 1000 for place in range(1, 101)], rate=1, seconds=1, sent=100, answered_per_s=1)
    assert (step.p50_ms, step.p90_ms, step.p99_ms, step.max_ms) == pytest.approx((51, 91, 100, 100))


@pytest.mark.parametrize(
    ("rate", "replicas", "size"),
    [(10, 1, "small"), (81, 2, "medium"), (320, 4, "medium"), (321, 5, "large"), (2000, 25, None)],
)
def test_the_smallest_size_with_enough_replicas_is_recommended(rate: float, replicas: int, size: str | None) -> None:
    advice = recommend(rate, held=100, mean_s=0.02, sizes=SIZES)
    assert (advice.replicas, advice.size) == (replicas, size)
    assert advice.per_replica == pytest.approx(80) and advice.target_ongoing == pytest.approx(1.6)


def test_a_deployment_takes_a_size_that_is_approved() -> None:
    assert Scale(size="medium").replicas == SIZES["medium"]
    assert Scale(min_replicas=6).replicas == Size(cpus=0.2, min_replicas=6, max_replicas=6)
    assert Scale(size="tiny", sizes={"tiny": Size(cpus=0.1)}).replicas.cpus == 0.1
    with pytest.raises(ValueError, match="approved are: small, medium, large"):
        Scale(size="huge")
    with pytest.raises(ValueError, match="above max_replicas"):
        Size(min_replicas=3, max_replicas=2)


@pytest.mark.parametrize(("text", "value"), [("50ms", 50), ("0.2s", 200), (" 7 ", 7), (".5 ms", 0.5)])
def test_a_latency_is_read(text: str, value: float) -> None:
    assert load_commands.milliseconds(text) == value


@pytest.mark.parametrize("text", ["", "fast", "0ms", "-1ms", "50 min"])
def test_what_is_no_latency_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write 50ms"):
        load_commands.milliseconds(text)
