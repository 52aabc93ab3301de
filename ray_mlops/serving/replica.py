"""One replica of an endpoint: opens the pinned bundle, then answers. It reads nothing else, no registry and no run."""

import gc
import hashlib
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from ray_mlops.contract import Frozen
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.online import open_store
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.priority import come_first
from ray_mlops.serving import bypass, redaction
from ray_mlops.serving.access.keyring import Access, KeyRing
from ray_mlops.serving.appender import Appender
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.asynchronous.queue import Queue
from ray_mlops.serving.attached import Attached
from ray_mlops.serving.autoscaling import ONGOING
from ray_mlops.serving.bypass import Room, Way
from ray_mlops.serving.capture import Capture, Capturing
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.pace import Pace, Paced
from ray_mlops.serving.rollouts.beside import Setting
from ray_mlops.serving.rollouts.choice import Served
from ray_mlops.serving.rollouts.switch import Switch
from ray_mlops.serving.rollouts.tally import CHAMPION
from ray_mlops.serving.rollouts.transactions import Scorers
from ray_mlops.serving.scoring import Scorer
from ray_mlops.serving.substitute import Substitute
from ray_mlops.serving.watching import Watcher, Watching

if TYPE_CHECKING:
    from fastapi import FastAPI


class _Closable(Protocol):
    def close(self) -> None: ...


Closable = TypeVar("Closable", bound=_Closable)


class Answering(Frozen):
    """Which version answers under which name, to whom, and the folder where it logs what it answered; beside that is the
    folder `requests`, with a line a request. `queue` is the URI where what is asked for later is kept, if it may be,
    `monitoring` the one where requests are counted."""

    name: str
    bundle: str
    digest: str
    version: str
    capture: str
    queue: str = ""
    monitoring: str = ""
    watching: Watching = Watching()
    asynchronous: Asynchronous = Asynchronous()
    access: Access = Access()
    capturing: Capturing = Capturing()
    room: Room = Room()


class Settings(Answering):
    """All that a replica needs to know."""

    store: str
    limits: Limits


class Replica:
    """What Serve runs, once per replica."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        redaction.install()
        self._id = uuid.uuid4().hex
        self._settings = Settings.model_validate(settings)
        self._bundle = Bundle.load(self._settings.bundle, digest=self._settings.digest)
        predictor = Predictor.load(self._bundle)
        names = len(predictor.definition.names)
        # The first prediction of a library sets up its threads and buffers: not on the first caller's time.
        predictor.reasons(np.zeros((1, names), np.float32), 1)
        predictor.score(np.zeros((1, names), np.float32))
        self._pace, self._open = Pace(waiting(self._settings)), ExitStack()
        self._way: Way | None = None
        needed, given = predictor.definition.windows, self._settings
        capture = self._held(Capture(given.capture, f"v{given.version}", given.capturing))
        self._watcher = watcher = watcher_of(given, self._id, capture)
        self._scorer = Scorer(
            predictor,
            self._held(open_store(given.store, predictor.definition)) if needed else None,
            capture,
            given.version,
            given.digest,
            Substitute.of(given.limits.degraded, predictor, self._bundle),
            self._held(watcher).watch(self._bundle, predictor.definition.names) if watcher else None,
        )
        self._switch = Switch(given.name, champion(given), Scorers(self._bundle, self._scorer, watcher))

    async def reconfigure(self, setting: Mapping[str, Any]) -> None:
        """Take over what Serve hands all replicas: the challenger of a rollout, and its weight."""
        await self._switch.turn(Setting.model_validate(setting))

    async def rollout(self) -> dict[str, Any]:
        """`Switch.status`."""
        return {**self._switch.status(), "replica": self._id}

    def __serve_build_asgi_app__(self) -> "FastAPI":
        """The application that Serve puts behind its proxy."""
        app = self.application()
        self._way = bypass.lay(app, self._settings.name, "/score", self._settings.room)
        spare_collector()
        come_first()
        return app

    def application(self) -> "FastAPI":
        """What answers for this replica; only replicas need FastAPI."""
        from ray_mlops.serving.app import build_app

        settings = self._settings
        app = build_app(
            self._scorer,
            metadata(self._bundle, settings),
            settings.limits,
            health=health(settings),
            ring=self._held(KeyRing(settings.access)),
            log=self._held(request_log(settings)),
            attached=Attached(self._pace.queue, self._switch, self._watcher),
        )
        app.add_middleware(Paced, pace=self._pace)
        return app

    def close(self) -> None:
        """End its threads and give back its files; it is asked no more."""
        self._open.close()

    def _held(self, opened: Closable) -> Closable:
        self._open.callback(opened.close)
        return opened

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve hands to `autoscaling.Policy`."""
        return {**self._pace.stats(), ONGOING: float(self._way.count if self._way else 0)}


def spare_collector() -> None:
    """Have the garbage collector pass over what is here now, half a million objects of libraries that all stay: to go through
    them again and again takes a tenth of a second, in which nobody is answered."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def champion(settings: Answering) -> Served:
    """The version that a replica was started for."""
    return Served(CHAMPION, settings.version, settings.digest)


def request_log(settings: Answering) -> Appender:
    """The log with a line a request; nobody waits for it."""
    return Appender(str(Path(settings.capture).parent / "requests"), f"v{settings.version}")


def waiting(settings: Answering) -> Queue | None:
    """What is asked for later; None where the endpoint answers at once or not at all."""
    on = settings.queue and settings.asynchronous.enabled
    return Queue(settings.queue, settings.asynchronous) if on else None


def watcher_of(settings: Answering, replica: str, capture: Capture) -> Watcher | None:
    """What counts the requests of a replica; None where nobody monitors."""
    if not settings.monitoring or not settings.watching.enabled:
        return None
    return Watcher(settings.monitoring, replica, watching=settings.watching, capture=capture.counts)


def health(settings: Answering) -> dict[str, Any]:
    """What `GET /health` tells: enough to know whether this is the endpoint one deployed."""
    pinned = {"version": settings.version, "digest": settings.digest}
    return {"status": "ok", "endpoint": settings.name, **pinned, "log": log_id(settings.capture)}


def metadata(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    """What `GET /model` tells, besides the request schema."""
    read = {"algorithm", "thresholds", "evaluation", "lineage", "example"}
    found = {name: bundle.json(f"{name}.json") for name in read if bundle.has(f"{name}.json")}
    definition = bundle.json("definition.json")
    described = {"name": settings.name, "version": settings.version, "digest": settings.digest, "example": None}
    return {**described, **found, "key": definition["data"]["key"], "windows": definition["windows"]}


def log_id(capture: str) -> str:
    """Names a capture folder without telling callers where it is."""
    return hashlib.blake2b(capture.encode(), digest_size=8).hexdigest()
