"""What was done about cause reports: one file an attempt in the run root, with who, when, why and how it ended.

An attempt is created by one process only, so no report is acted on twice. It shows by a beat that its process lives; one that
is dead, or was stopped, is taken up by the next attempt at the same report, which only one process can create as well.
"""

import getpass
import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, Self

from ray_mlops.contract import Frozen
from ray_mlops.errors import StorageError
from ray_mlops.monitoring.causes import CauseReport
from ray_mlops.monitoring.proposals import Action
from ray_mlops.platform import files, processes

Status = Literal["running", "interrupted", "promoted", "rejected", "rolled back", "nothing new", "failed", "given up"]
BEAT_S, SILENT_S = 10.0, 60.0
_SKEW_S = 60.0  # the clocks of two machines
SUFFIX = ".json"


class Event(Frozen):
    """One thing that was done."""

    time: datetime
    what: str


class Attempt(Frozen):
    """The record of an attempt at what a cause report proposes. `made` and `made_digest` name the version that it trained."""

    report: str
    number: int
    endpoint: str
    digest: str
    action: Action
    by: str
    user: str
    host: str
    pid: int
    began: datetime
    beat: datetime
    status: Status = "running"
    reason: str = ""
    made: str = ""
    made_digest: str = ""
    events: tuple[Event, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do about the report."""
        return self.status not in ("running", "interrupted")

    @property
    def stopped(self) -> bool:
        """Whether nobody is at it for certain: it was ended, or its process was one of this machine and is no more."""
        here = self.host == processes.here()
        return self.status != "running" or (here and (self.pid == os.getpid() or not processes.is_alive(self.pid)))

    def alive(self) -> bool:
        """Whether the process that runs it may still be there, as far as its last beat tells."""
        return not self.stopped and abs((datetime.now(UTC) - self.beat).total_seconds()) < SILENT_S


class Attempts:
    """The attempts of one endpoint, below the folder for its monitoring."""

    def __init__(self, monitoring: str) -> None:
        self._folder = files.join(monitoring, "attempts")

    def all(self) -> list[Attempt]:
        """All of them, the oldest first."""
        names = [name for name in files.listing(self._folder) if name.endswith(SUFFIX)]
        found = [Attempt.model_validate(files.read_json(files.join(self._folder, name))) for name in names]
        return sorted(found, key=lambda one: (one.began, one.number))

    def last(self, report: str) -> Attempt | None:
        """The last attempt at a report."""
        return max((one for one in self.all() if one.report == report), key=lambda one: one.number, default=None)

    def unfinished(self) -> list[Attempt]:
        """The last attempts at reports that have not come to an end, whether or not somebody is at them."""
        latest = {one.report: one for one in sorted(self.all(), key=lambda one: one.number)}
        return [one for one in latest.values() if not one.ended]

    def alive(self, attempt: Attempt) -> bool:
        """Whether somebody may still be at one. Where its last beat seems long ago the clock may have jumped: another is waited for."""
        if attempt.stopped or attempt.alive():
            return not attempt.stopped
        time.sleep(1.5 * BEAT_S)
        now = self.last(attempt.report)
        return now is not None and now.beat != attempt.beat and not now.stopped

    def begin(self, report: CauseReport, by: str) -> Attempt | None:
        """A new attempt, which goes on where the last one was left; None where another process has created it."""
        now, before = datetime.now(UTC), self.last(report.id)
        attempt = Attempt(
            report=report.id,
            number=before.number + 1 if before else 1,
            endpoint=report.endpoint,
            digest=report.digest,
            action=report.action,
            by=by,
            user=_user(),
            host=processes.here(),
            pid=os.getpid(),
            began=now,
            beat=now,
            made=before.made if before else "",
            made_digest=before.made_digest if before else "",
        )
        created = files.create_bytes(self._path(attempt), attempt.model_dump_json(indent=2).encode())
        return attempt if created else None

    def write(self, attempt: Attempt) -> None:
        """Write a record whole or not at all."""
        files.write_json(self._path(attempt), attempt.model_dump(mode="json"))

    def _path(self, attempt: Attempt) -> str:
        return files.join(self._folder, f"{attempt.report}-{attempt.number:03d}{SUFFIX}")


class Ongoing:
    """An attempt that is being made: its record beats while the block runs."""

    def __init__(self, attempts: Attempts, attempt: Attempt) -> None:
        self.attempt, self._attempts = attempt, attempts
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="attempt", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def note(self, what: str, **changes: str) -> None:
        """Write down what was done, and what that changes of the record."""
        event = Event(time=datetime.now(UTC), what=what)
        self._write({"events": (*self.attempt.events, event), **changes})

    def end(self, status: Status, reason: str) -> None:
        """Write down how it ended."""
        self.note(f"{status}: {reason}", status=status, reason=reason)

    def _write(self, changes: dict[str, object]) -> None:
        with self._lock:
            self.attempt = self.attempt.model_copy(update={"beat": datetime.now(UTC), **changes})
            self._attempts.write(self.attempt)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            with suppress(StorageError):  # the next one may go
                self._write({})


def cooled_down(attempts: list[Attempt], action: Action, cooldown_s: float) -> float:
    """How many seconds an action still has to wait after the last one of its kind has ended; 0: none. One that has ended in
    the future, by more than clocks differ, did so before the clock was set back, and is not waited for."""
    now = time.time()
    ended = [one.beat.timestamp() for one in attempts if one.action == action and one.ended]
    last = max((moment for moment in ended if moment <= now + _SKEW_S), default=0.0)
    return max(0.0, min(last, now) + cooldown_s - now)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container user without a name
        return "unknown"
