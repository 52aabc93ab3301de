"""Where alarms go: the log of the process that judges, and a webhook. The history in the run root has them all.

A webhook is told of every judged window in which an alarm was raised or has ended, once it answers with a 2xx; what it has
not taken is told again by whoever judges within a day, under the same `idempotency-key`.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from ray_mlops.monitoring.history import Judged
from ray_mlops.platform import files

_LOG = logging.getLogger("ray_mlops.alarms")
AGAIN_S = 86_400
_WAIT_S = 10.0


def events(judged: Sequence[Judged], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What changed from one judged window to the next; `about` names the endpoint and the version."""
    found, before = [], {}
    for one in judged:
        now = {alarm.key: str(alarm) for alarm in one.alarms}
        raised, ended = sorted(now.keys() - before.keys()), sorted(before.keys() - now.keys())
        if raised or ended:
            window = {"number": one.number, "start": one.start, "end": one.end, "requests": one.requests}
            changed = {"raised": [now[key] for key in raised], "ended": ended}
            found.append({**about, "window": window, **changed, "alarms": sorted(now.values())})
        before = now
    return found


def log(event: Mapping[str, Any]) -> None:
    """A line for each alarm that was raised or has ended."""
    where = f"endpoint {event['endpoint']}, version {event['version']}, window {event['window']['number']}"
    for alarm in event["raised"]:
        _LOG.warning("%s: %s", where, alarm)
    for key in event["ended"]:
        _LOG.info("%s: %s is over", where, key)


class Webhook:
    """Tells events to a URL; `folder` has a file for each that was taken."""

    def __init__(self, url: str, folder: str) -> None:
        self._url, self._folder = url, folder

    def tell(self, found: Sequence[Mapping[str, Any]], now: float) -> int:
        """POST what has not been taken yet, oldest first; how many still wait, because the receiver does not answer."""
        taken = set(files.listing(self._folder))
        recent = [event for event in found if now - event["window"]["end"] < AGAIN_S]
        waiting = [event for event in recent if _name(event) not in taken]
        with httpx.Client(timeout=_WAIT_S) as client:
            for place, event in enumerate(waiting):
                try:
                    key = {"idempotency-key": f"{event['digest'][:16]}-{event['window']['number']}"}
                    client.post(self._url, json=event, headers=key).raise_for_status()
                except httpx.HTTPError as error:
                    _LOG.error("the webhook does not take an alarm, it will be told again: %s", type(error).__name__)
                    return len(waiting) - place
                files.create_bytes(files.join(self._folder, _name(event)), b"")
        return 0


def _name(event: Mapping[str, Any]) -> str:
    return f"{event['window']['number']:08d}"
