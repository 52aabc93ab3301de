"""What is written down of every rollout: who, when, which digests, each step, each verdict and why. One file a rollout, below
the run root; it only ever gets longer."""

import getpass
import os
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from ray_mlops.contract import Frozen
from ray_mlops.contract.names import ENDPOINT, ROLLOUT
from ray_mlops.platform import files, processes
from ray_mlops.serving.rollouts.judge import Check
from ray_mlops.serving.rollouts.plan import Plan

Status = Literal["running", "promoted", "rolled_back", "interrupted"]
BEAT_S, SILENT_S = 5.0, 60.0


class Side(Frozen):
    """A version of a model, by number and content."""

    model: str
    version: str
    digest: str


class Event(Frozen):
    """One thing that happened, with the checks that it rests on."""

    time: datetime
    what: Literal["started", "step", "looked", "promoted", "rolled_back", "interrupted"]
    share: float = 0.0
    reason: str = ""
    checks: tuple[Check, ...] = ()


class Rollout(Frozen):
    """The record of one rollout. `beat` is when its command was last heard of, running as `pid` on `host` for `user`; `why` is
    what it was begun for, where that was told."""

    id: str
    endpoint: str
    champion: Side
    challenger: Side
    plan: Plan
    user: str
    host: str
    pid: int
    started: datetime
    beat: datetime
    status: Status = "running"
    reason: str = ""
    why: str = ""
    events: tuple[Event, ...] = ()

    @classmethod
    def begin(cls, endpoint: str, champion: Side, challenger: Side, plan: Plan, why: str = "") -> "Rollout":
        """A rollout that begins now, by this process."""
        now = datetime.now(UTC)
        return cls(
            id=f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
            endpoint=endpoint,
            champion=champion,
            challenger=challenger,
            plan=plan,
            user=user(),
            host=processes.here(),
            pid=os.getpid(),
            started=now,
            beat=now,
            why=why,
            events=(Event(time=now, what="started", reason=why),),
        )

    def then(self, what: str, *, share: float = 0.0, reason: str = "", checks: Sequence[Check] = ()) -> "Rollout":
        """The record with one more event; those that end a rollout are its status from then on."""
        event = Event.model_validate(
            {"time": datetime.now(UTC), "what": what, "share": share, "reason": reason, "checks": tuple(checks)}
        )
        ended = {"status": what, "reason": reason} if what in ("promoted", "rolled_back", "interrupted") else {}
        return self.model_copy(update={"events": (*self.events, event), "beat": event.time, **ended})

    def beating(self) -> "Rollout":
        """The record of a command that is still there."""
        return self.model_copy(update={"beat": datetime.now(UTC)})

    def alive(self) -> bool:
        """Whether the command that drives it may still be there."""
        if self.status != "running":
            return False
        if self.host == processes.here():
            return processes.is_alive(self.pid)
        return abs((datetime.now(UTC) - self.beat).total_seconds()) < SILENT_S


class Records:
    """The rollouts of one endpoint, below a run root."""

    def __init__(self, root: str, endpoint: str) -> None:
        self._folder = files.join(root, "endpoints", ENDPOINT.check(endpoint), "rollouts")

    def write(self, rollout: Rollout) -> Rollout:
        """Write a record whole or not at all; returns it."""
        files.write_json(files.join(self._folder, f"{rollout.id}.json"), rollout.model_dump(mode="json"))
        return rollout

    def read(self, identity: str) -> Rollout:
        """The record of a rollout; raises `StorageError` when there is none, `ConfigError` for what is no id of one."""
        return Rollout.model_validate(files.read_json(files.join(self._folder, f"{ROLLOUT.check(identity)}.json")))

    def all(self) -> list[Rollout]:
        """All rollouts, the latest first."""
        names = [name.removesuffix(".json") for name in files.listing(self._folder) if name.endswith(".json")]
        return [self.read(name) for name in sorted(names, reverse=True)]

    def alive(self, rollout: Rollout) -> bool:
        """Whether the command of one may still be there. Where its last beat seems long ago the clock may have jumped: another
        is waited for."""
        if rollout.status != "running" or rollout.host == processes.here() or rollout.alive():
            return rollout.alive()
        time.sleep(3 * BEAT_S)
        now = self.read(rollout.id)
        return now.status == "running" and now.beat != rollout.beat

    def running(self) -> Rollout | None:
        """The one that has not ended, perhaps because its command died."""
        return next((rollout for rollout in self.all() if rollout.status == "running"), None)


def user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container user without a name
        return "unknown"
