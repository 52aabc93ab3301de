"""What one request may ask for, and what it gets when there is no time for it."""

from typing import Literal

from pydantic import Field

from ray_mlops.contract import Frozen


class RequestLimits(Frozen):
    """Bounds that all endpoints have: `body_s` is for reading a body, `deadline_s` for answering it once it is read;
    more than `max_ongoing` requests at once in a replica are refused."""

    max_body_bytes: int = Field(gt=0)
    body_s: float = Field(default=10.0, gt=0)
    deadline_s: float = Field(default=10.0, gt=0)
    max_ongoing: int = Field(default=128, ge=1)


class Degraded(Frozen):
    """What is answered when scoring has not ended at the deadline, or the entity store does not answer.

    `rule`: what the best rule of the decision says, where the transaction alone tells whether it holds, and `score`
    where it does not hold or there is none; `score`: always that one; `error`: 503.
    """

    answer: Literal["rule", "score", "error"] = "rule"
    score: float = Field(default=0.0, ge=0, le=1)


class Limits(RequestLimits):
    """Bounds of a request to score transactions; `reasons` is how many an answer gives when the caller does not say."""

    max_body_bytes: int = Field(default=4_000_000, gt=0)
    max_transactions: int = Field(default=1000, gt=0)
    max_reasons: int = Field(default=20, ge=0)
    reasons: int = Field(default=3, ge=0)
    degraded: Degraded = Degraded()
