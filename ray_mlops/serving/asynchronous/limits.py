"""How much may be asked for later, and how it is worked."""

from pydantic import Field

from ray_mlops.contract import Frozen


class Asynchronous(Frozen):
    """Bounds of asynchronous inference, which is on where `enabled`.

    `max_body_bytes`, `max_rows` and `body_s` are for one request, `max_uploads` how many bodies a replica takes in at
    once, `max_pending` how many requests an endpoint keeps waiting before it refuses more. Each replica works `at_once`
    of them, `rows_at_once` rows between two requests of its other callers. A replica that does not say within `lease_s`
    that it is still at work has lost its request to another; after `max_attempts` of at most `deadline_s` each the
    request has failed. What is older than `keep_s` goes, done or not. Every `poll_s` a replica looks for work that came
    by way of others. Besides `<root>/async/<endpoint>/inputs` an InputLocation may be below any URI in `inputs`.
    """

    enabled: bool = True
    max_body_bytes: int = Field(default=64_000_000, gt=0)
    max_rows: int = Field(default=100_000, gt=0)
    body_s: float = Field(default=60.0, gt=0)
    max_uploads: int = Field(default=4, ge=1)
    max_pending: int = Field(default=1000, ge=1)
    at_once: int = Field(default=1, ge=1)
    rows_at_once: int = Field(default=64, ge=1)
    lease_s: float = Field(default=30.0, gt=0)
    max_attempts: int = Field(default=3, ge=1)
    deadline_s: float = Field(default=900.0, gt=0)
    keep_s: float = Field(default=7 * 86_400.0, gt=0)
    poll_s: float = Field(default=2.0, gt=0)
    inputs: tuple[str, ...] = ()
