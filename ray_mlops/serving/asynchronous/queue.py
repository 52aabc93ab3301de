"""Requests that wait for an answer, in a folder or on S3, shared by all replicas of an endpoint. No broker, no database.

A request is one file, `requests/<id>`, created exclusively: sent again it is the same request. Who works it has created
`leases/<id>~<attempt>` exclusively, and has it until the time in that file, which it moves on while it works; once that is
over, another may create the next attempt. However many work a request, `outcomes/<id>` is created exclusively: one result,
or one failure. Then the request and its leases go. Whatever a replica leaves half done, the next one that looks finishes.
"""

import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from ray_mlops.contract import Frozen
from ray_mlops.errors import DataError, StorageError
from ray_mlops.platform import files
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.asynchronous.records import Invocation, Lease, Outcome, State

_HEAD_BYTES = 1 << 16
_FURTHEST_S = 600.0  # what ends later was written before a clock was set back
_LONGEST_REASON = 2000
_FOLDERS = ("leases", "outcomes", "outputs", "failures")

Head = TypeVar("Head", bound=Frozen)


class Queue:
    """The requests of one endpoint below the URI `folder`. Every method reads or writes files: not for an event loop.

    `outstanding` is how many had not ended when this replica last looked for work.
    """

    def __init__(self, folder: str, limits: Asynchronous) -> None:
        self.folder, self.limits = files.absolute(folder), limits
        self.replica = f"{socket.gethostname()}:{os.getpid()}"
        self.outstanding = 0

    def full(self) -> bool:
        """Whether as many requests wait as may."""
        return len(self._waiting()) >= self.limits.max_pending

    def submit(self, invocation: Invocation, body: bytes) -> State:
        """Keep a request; where its id is known, its state, which may be that of a different one: see `digest`."""
        if known := self.state(invocation.id):
            return known
        created = files.create_bytes(self._uri("requests", invocation.id), _packed(invocation, body))
        state = self.state(invocation.id) or (self._state(invocation, None) if created else None)
        if state is None:
            raise StorageError(f"two requests with the id {invocation.id} met; send it again")
        return state

    def state(self, name: str) -> State | None:
        """Where a request is; None when there is none of this id."""
        outcome = self._head(Outcome, "outcomes", name)
        if outcome is None:
            invocation = self._head(Invocation, "requests", name)
            if invocation is not None:
                return self._state(invocation, self._newest(name))
            outcome = self._head(Outcome, "outcomes", name)  # it may have ended between the two looks
        if outcome is None:
            return None
        same = {"id": name, "digest": outcome.digest, "owner": outcome.owner, "attempts": outcome.attempts}
        return State(state="done" if outcome.done else "failed", reason=outcome.reason, **same)

    def result(self, name: str) -> tuple[Outcome, bytes] | None:
        """How a request ended and its answer; None while it has not."""
        content = files.find_bytes(self._uri("outcomes", name))
        return None if content is None else _unpacked(Outcome, content)

    def claim(self) -> Lease | None:
        """The oldest request that nobody works on, for this replica; None when there is none."""
        waiting = self._waiting()
        self.outstanding = len(waiting)
        return next(filter(None, map(self._claim, waiting)), None)

    def read(self, name: str) -> tuple[Invocation, bytes] | None:
        """A request and its body; None when it has ended."""
        content = files.find_bytes(self._uri("requests", name))
        return None if content is None else _unpacked(Invocation, content)

    def fetch(self, uri: str) -> bytes:
        """An input, of which one byte more than may be is enough; raises `DataError` when it is not there."""
        content = files.find_bytes(uri, self.limits.max_body_bytes + 1)
        if content is None:
            raise DataError(f"there is no {uri}")
        return content

    def renew(self, lease: Lease) -> None:
        """Keep a request for another `lease_s`."""
        self._write(lease.model_copy(update={"until": _in(self.limits.lease_s)}))

    def release(self, lease: Lease, reason: str, *, wait_s: float = 0.0) -> None:
        """Give a request up, for others to try again after `wait_s`."""
        self._write(lease.model_copy(update={"until": _in(wait_s), "reason": reason[:_LONGEST_REASON]}))

    def hand_back(self, lease: Lease) -> None:
        """Give a request up as if nobody had tried: who is told to stop has not failed."""
        files.remove(self._lease(lease.id, lease.attempt))

    def settle(self, invocation: Invocation, lease: Lease, answer: bytes, **fields: object) -> bool:
        """End a request with an answer, or with a `status` and a `reason`; whether it had not ended before."""
        same = {"id": lease.id, "digest": invocation.digest, "owner": invocation.owner, "attempts": lease.attempt}
        outcome = Outcome.model_validate({**same, "finished": datetime.now(UTC), **fields})
        outcome = outcome.model_copy(update={"reason": outcome.reason[:_LONGEST_REASON]})
        uri = self._uri("outcomes", lease.id)
        first = files.create_bytes(uri, _packed(outcome, answer))
        if not first and not files.exists(uri):
            raise StorageError(f"cannot create {uri}: two writes met; it is tried again")
        self._close(lease.id)
        return first

    def locations(self, name: str) -> tuple[str, str]:
        """Where the answer, or the reason why there is none, is put for who asked by InputLocation."""
        return self._uri("outputs", f"{name}.out"), self._uri("failures", f"{name}.out")

    def allows(self, uri: str) -> bool:
        """Whether an input may be read: below the folder `inputs`, or one of the config's. No other file, no other server."""
        if any(sign in "?#%\\" or not sign.isprintable() for sign in uri) or ".." in uri.split("/"):
            return False
        return any(_below(uri, folder) for folder in (self._uri("inputs"), *map(files.absolute, self.limits.inputs)))

    def clean(self) -> None:
        """Remove what is older than `keep_s`; a request as old that has not ended has failed."""
        oldest = datetime.now(UTC) - timedelta(seconds=self.limits.keep_s)
        for folder in _FOLDERS:
            for name, changed in files.by_age(self._uri(folder)):
                if changed < oldest:
                    files.remove(self._uri(folder, name))
        for name, changed in files.by_age(self._uri("requests")):
            if changed < oldest:
                self._expire(name)

    def _waiting(self) -> list[str]:
        return [name for name, _ in files.by_age(self._uri("requests")) if not name.startswith(".")]

    def _claim(self, name: str) -> Lease | None:
        if files.exists(self._uri("outcomes", name)):
            self._close(name)  # whoever answered it died before it could
            return None
        last = self._newest(name)
        if last and self._counts(last):
            return None
        if last and last.attempt >= self.limits.max_attempts:
            self._give_up(name, last)
            return None
        lease = Lease(
            id=name,
            attempt=last.attempt + 1 if last else 1,
            replica=self.replica,
            until=_in(self.limits.lease_s),
        )
        if not files.create_bytes(self._lease(name, lease.attempt), lease.model_dump_json().encode()):
            return None
        if not files.exists(self._uri("requests", name)):  # it has ended meanwhile
            self._close(name)
            return None
        return lease

    def _counts(self, lease: Lease) -> bool:
        """Whether a lease, or the wait after one, goes on."""
        left_s = (lease.until - datetime.now(UTC)).total_seconds()
        return 0 < left_s <= self.limits.lease_s + _FURTHEST_S

    def _state(self, invocation: Invocation, lease: Lease | None) -> State:
        return State(
            id=invocation.id,
            state="running" if lease and not lease.reason and self._counts(lease) else "pending",
            digest=invocation.digest,
            owner=invocation.owner,
            attempts=lease.attempt if lease else 0,
            reason=lease.reason if lease else "",
        )

    def _give_up(self, name: str, last: Lease) -> None:
        invocation = self._head(Invocation, "requests", name)
        if invocation is not None:
            reason = last.reason or f"replica {last.replica} died, or did not get on, while it worked on it"
            self.settle(invocation, last, b"", status=500, reason=f"given up after {last.attempt} attempts: {reason}")

    def _expire(self, name: str) -> None:
        invocation = None if name.startswith(".") else self._head(Invocation, "requests", name)
        if invocation is None:
            files.remove(self._uri("requests", name))  # what a replica that was killed had begun to write
            return
        last = self._newest(name) or Lease(id=name, attempt=0, replica=self.replica, until=datetime.now(UTC))
        self.settle(invocation, last, b"", status=500, reason=f"not answered within {self.limits.keep_s:g} s")

    def _close(self, name: str) -> None:
        """Publish what has ended, then remove its request and leases; whoever finds it unfinished does it again."""
        invocation = self._head(Invocation, "requests", name)
        if invocation is not None and invocation.input and (found := self.result(name)):
            outcome, answer = found
            output, failure = self.locations(name)
            told = outcome.model_dump_json(indent=2, exclude={"digest", "owner"}).encode()
            files.write_bytes(output if outcome.done else failure, answer if outcome.done else told)
        for attempt in self._attempts(name):
            files.remove(self._lease(name, attempt.attempt))
        files.remove(self._uri("requests", name))

    def _attempts(self, name: str) -> Iterator[Lease]:
        attempt = 1
        while content := files.find_bytes(self._lease(name, attempt)):
            yield Lease.model_validate_json(content)
            attempt += 1

    def _newest(self, name: str) -> Lease | None:
        return max(self._attempts(name), key=lambda lease: lease.attempt, default=None)

    def _lease(self, name: str, attempt: int) -> str:
        return self._uri("leases", f"{name}~{attempt}")

    def _write(self, lease: Lease) -> None:
        files.write_bytes(self._lease(lease.id, lease.attempt), lease.model_dump_json().encode())

    def _head(self, kind: type[Head], folder: str, name: str) -> Head | None:
        content = files.find_bytes(self._uri(folder, name), _HEAD_BYTES)
        return None if content is None else kind.model_validate_json(content.partition(b"\n")[0])

    def _uri(self, folder: str, *name: str) -> str:
        return files.join(self.folder, folder, *name)


def _below(uri: str, folder: str) -> bool:
    if files.is_remote(uri):
        return uri.startswith(f"{folder.rstrip('/')}/")
    if files.is_remote(folder) or not uri.removeprefix("file://").startswith("/"):  # `~x` would be somebody's home
        return False
    return Path(folder).resolve() in Path(files.absolute(uri)).resolve().parents


def _packed(head: Frozen, body: bytes) -> bytes:
    """A line of JSON, then the body as it is."""
    return head.model_dump_json().encode() + b"\n" + body


def _unpacked(kind: type[Head], content: bytes) -> tuple[Head, bytes]:
    line, _, body = content.partition(b"\n")
    return kind.model_validate_json(line), body


def _in(seconds: float) -> datetime:
    return datetime.fromtimestamp(time.time() + seconds, UTC)
