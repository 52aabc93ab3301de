"""One replica of an endpoint for images: opens the pinned bundle, then answers. It reads nothing else."""

import base64
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.priority import come_first
from ray_mlops.serving import redaction
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.attached import Attached
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.image_answers import Answerer, Pinned
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.pace import Pace, Paced
from ray_mlops.serving.replica import (
    Answering,
    champion,
    health,
    request_log,
    spare_collector,
    waiting,
    watcher_of,
)
from ray_mlops.serving.rollouts.beside import Setting
from ray_mlops.serving.rollouts.images import Answerers
from ray_mlops.serving.rollouts.switch import Switch
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.signals import SEEN

if TYPE_CHECKING:
    from fastapi import FastAPI

EXAMPLE = "example.png"


class ImageSettings(Answering):
    """All that a replica needs to know."""

    limits: ImageLimits


class ImageReplica:
    """What Serve runs, once per replica."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        redaction.install()
        self._id = uuid.uuid4().hex
        self._settings = ImageSettings.model_validate(settings)
        self._bundle = Bundle.load(self._settings.bundle, digest=self._settings.digest)
        predictor = ImagePredictor.load(self._bundle)
        # The first prediction of a library sets up its threads and buffers: not on the first caller's time.
        predictor.probabilities(np.zeros((1, *predictor.transform.shape), np.uint8))
        self._pace, self._open = Pace(waiting(self._settings)), ExitStack()
        capture = Capture(self._settings.capture, f"v{self._settings.version}", self._settings.capturing)
        self._open.callback(capture.close)
        self._watcher = watcher = watcher_of(self._settings, self._id, capture)
        if watcher:
            self._open.callback(watcher.close)
        watch = watcher.watch(self._bundle, SEEN) if watcher else None
        pinned = Pinned(self._settings.version, self._settings.digest, watch)
        limits = self._settings.limits
        shares = prior(self._bundle) if limits.degraded == "prior" else None
        self._answerer = Answerer(predictor, capture, pinned, batch=limits.batch, prior=shares)
        family = Answerers(self._bundle, self._answerer, watcher)
        self._switch = Switch(self._settings.name, champion(self._settings), family)

    async def reconfigure(self, setting: Mapping[str, Any]) -> None:
        """Take over what Serve hands all replicas: the challenger of a rollout, and its weight."""
        await self._switch.turn(Setting.model_validate(setting))

    async def rollout(self) -> dict[str, Any]:
        """`Switch.status`."""
        return {**self._switch.status(), "replica": self._id}

    def __serve_build_asgi_app__(self) -> "FastAPI":
        """The application that Serve puts behind its proxy."""
        app = self.application()
        spare_collector()
        come_first()
        return app

    def application(self) -> "FastAPI":
        """What answers for this replica; only replicas need FastAPI."""
        from ray_mlops.serving.image_app import build_image_app

        settings = self._settings
        ring, log = KeyRing(settings.access), request_log(settings)
        for opened in (ring, log):
            self._open.callback(opened.close)
        app = build_image_app(
            self._answerer,
            metadata(self._bundle, settings),
            settings.limits,
            health=health(settings),
            ring=ring,
            log=log,
            attached=Attached(self._pace.queue, self._switch, self._watcher),
        )
        app.add_middleware(Paced, pace=self._pace)
        return app

    def close(self) -> None:
        """End its threads and give back its files; it is asked no more."""
        self._open.close()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve hands to `autoscaling.Policy`."""
        return self._pace.stats()


def metadata(bundle: Bundle, settings: Answering) -> dict[str, Any]:
    """What `GET /model` tells; `example` is a body for `POST /predict`."""
    read = ("algorithm", "classes", "transform", "calibration", "evaluation", "lineage")
    found = {name: bundle.json(f"{name}.json") for name in read}
    described = {"name": settings.name, "version": settings.version, "digest": settings.digest}
    return {**described, **found, "example": example(bundle)}


def prior(bundle: Bundle) -> np.ndarray:
    """How often each class came in training, float64 `(classes,)`; all alike where the bundle does not say."""
    classes = bundle.json("classes.json")
    counts = bundle.json("lineage.json").get("labelled", {}).get("train", {})
    seen = np.array([counts.get(name, 0) for name in classes], np.float64)
    return seen / seen.sum() if seen.sum() else np.full(len(classes), 1 / len(classes))


def example(bundle: Bundle) -> dict[str, str]:
    """A picture of the validation part, as a caller may send it."""
    return {"image": base64.b64encode(Path(bundle.path(EXAMPLE)).read_bytes()).decode()}
