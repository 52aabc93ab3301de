"""What one request may ask for."""

from pydantic import Field

from ray_mlops.contract import Frozen


class Limits(Frozen):
    """Bounds of a request. `deadline_s` is for reading its body and, separately, for scoring it; `reasons` is how many
    an answer gives when the caller does not say."""

    max_body_bytes: int = Field(default=4_000_000, gt=0)
    max_transactions: int = Field(default=1000, gt=0)
    max_reasons: int = Field(default=20, ge=0)
    reasons: int = Field(default=3, ge=0)
    deadline_s: float = Field(default=10.0, gt=0)
