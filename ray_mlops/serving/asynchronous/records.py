"""What is kept of a request that is answered later."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.contract.names import RequestId


class Invocation(Frozen):
    """What is asked for, besides the body: that is in the same file, or at the URI `input`.

    `digest` is of all that the caller gave, `owner` the name of the key it was sent with.
    """

    id: RequestId
    digest: str
    submitted: datetime
    content_type: str | None = None
    accept: str | None = None
    input: str = ""
    owner: str | None = None
    deadline_s: float | None = Field(default=None, gt=0)
    keep_s: float | None = Field(default=None, gt=0)


class Lease(Frozen):
    """The right of one replica to work a request `until` a moment; `reason` says why the attempt ended early."""

    id: str
    attempt: int
    replica: str
    until: datetime
    reason: str = ""


class Outcome(Frozen):
    """How a request ended; its answer, or the `status` and `reason` for which there is none."""

    id: str
    digest: str
    owner: str | None
    finished: datetime
    attempts: int
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}
    status: int = 200
    reason: str = ""

    @property
    def done(self) -> bool:
        return self.status == 200


class State(Frozen):
    """Where a request is on its way; `reason` of its failure, or of the attempt before."""

    id: str
    state: Literal["pending", "running", "done", "failed"]
    digest: str
    owner: str | None
    attempts: int
    reason: str = ""
