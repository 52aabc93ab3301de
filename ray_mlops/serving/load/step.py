"""What was seen of an endpoint while requests arrived at one rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from ray_mlops.contract import Frozen

_CLIENT_CPU = 0.9
_CLIENT_LATE = 0.25


class Step(Frozen):
    """Requests of one rate: `rate` a second were due, `answered_per_s` were answered by the model.

    Latencies are in milliseconds from the moment at which a request was due, so that one that could not be sent in time,
    because those before it were slow, counts as slow. `errors` are counted by their kind; degraded answers are among them.
    `client_late_ms` is the 99th percentile of how late the client itself sent, `client_cpu` its share of a core.
    """

    rate: float
    seconds: float
    sent: int
    answered_per_s: float
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    errors: Mapping[str, int] = {}
    cut_short: bool = False
    client_late_ms: float = 0.0
    client_cpu: float = Field(default=0.0, ge=0)

    @property
    def failed(self) -> int:
        """Requests that were not answered by the model."""
        return sum(self.errors.values())

    def holds(self, p99_ms: float, error_share: float) -> bool:
        """Whether the endpoint kept up, with latencies and errors within the limits."""
        if self.p99_ms is None or self.cut_short:
            return False
        return self.p99_ms <= p99_ms and self.failed <= error_share * self.sent

    def client_bound(self, p99_ms: float) -> bool:
        """Whether the client itself was too slow for what it measured to be the endpoint's."""
        return self.client_cpu > _CLIENT_CPU or self.client_late_ms > _CLIENT_LATE * p99_ms


def due_times(rate: float, seconds: float, seed: int) -> np.ndarray:
    """When requests arrive in a step, seconds from its start, float64: independent callers, `rate` a second on average."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(1 / rate, max(1, round(rate * seconds)))
    return np.cumsum(gaps) * (seconds / gaps.sum())


def summary(latencies: Sequence[float], **told: Any) -> Step:
    """A step from the latencies, in seconds, of all that were answered."""
    if not latencies:
        return Step(**told)
    milliseconds = 1000 * np.asarray(latencies)
    p50, p90, p99 = np.percentile(milliseconds, (50, 90, 99), method="higher").tolist()
    return Step(p50_ms=p50, p90_ms=p90, p99_ms=p99, max_ms=float(milliseconds.max()), **told)
