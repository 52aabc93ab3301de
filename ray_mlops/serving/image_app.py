"""The HTTP face of an endpoint for images. It runs in a replica, and as well without Ray in a test."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from ray_mlops.serving import direct, edge, image_documents, image_labels, metrics_route, protocols, try_page
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.appender import Appender
from ray_mlops.serving.asynchronous import routes as asynchronous
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.attached import NOTHING, Attached
from ray_mlops.serving.image_answers import Answerer
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.layers import surround
from ray_mlops.serving.pictures import Pictures
from ray_mlops.serving.rollouts.choice import Served
from ray_mlops.serving.rollouts.images import PictureSwitch
from ray_mlops.serving.rollouts.switch import Switch
from ray_mlops.serving.rollouts.tally import CHAMPION


def build_image_app(
    answerer: Answerer,
    model: Mapping[str, Any],
    limits: ImageLimits,
    *,
    health: Mapping[str, Any],
    ring: KeyRing | None = None,
    log: Appender | None = None,
    attached: Attached = NOTHING,
) -> FastAPI:
    """The application that answers with one model; `model` is what `GET /model` tells, `health` what `/health` does.

    Without the keys of a ring everybody may ask; `log` gets a line a request.
    """
    title = f"{model['name']}, version {model['version']}"
    app = try_page.application(title, model["version"], keys=ring is not None)
    switch = attached.switch or Switch(model["name"], Served(CHAMPION, answerer.pinned.version, answerer.pinned.digest))
    rollout = PictureSwitch(switch, answerer, patience_s=limits.deadline_s / 2)
    asked = Pictures(model["name"], answerer, limits, model["example"], rollout)
    classes = asked.classes

    @app.get("/health", summary="Is it answering, and with which version", tags=["endpoint"])
    async def get_health() -> Response:
        return edge.answer(200, health)

    @app.get("/model", summary="Metadata, classes and an example", tags=["endpoint"])
    async def get_model() -> Response:
        return edge.answer(200, model)

    @app.post("/predict", **image_documents.predict(classes, limits, asked.example))
    async def post_predict(request: Request) -> Response:
        request_id = edge.request_id(request)
        top = edge.whole_number(request, "top", min(limits.top, len(classes)), least=1, most=len(classes))
        files, batch = await asked.read(await protocols.body(asked, request), request.headers.get("content-type"))
        answers = await asked.answer(files, request_id=request_id, detail=top)
        content = {"results": answers} if batch else answers[0]
        return edge.answer(200, {**content, **asked.version, "request_id": request_id})

    @app.get("/stats", **image_documents.stats())
    async def get_stats() -> Response:
        return edge.answer(200, {"capture": answerer.capture.counts()})

    image_labels.add(app, asked)
    protocols.add(app, asked)
    if queue := attached.queue:
        asynchronous.add(app, _patient(asked, queue.limits), queue, answerer.capture.settled)
    metrics_route.add(app, attached.watcher, endpoint=model["name"], version=model["version"])
    edge.handle_errors(app)
    direct.shorten(app, "/predict")
    surround(app, limits, answerer.capture, ring=ring, log=log, watcher=attached.watcher)
    return app


def _patient(asked: Pictures, limits: Asynchronous) -> Pictures:
    """The same, for those who wait: for more at once, and without an answer from anything but the model."""
    larger = {"max_images": limits.max_rows, "max_body_bytes": limits.max_body_bytes}
    return replace(
        asked,
        answerer=asked.answerer.without_prior(),
        limits=asked.limits.model_copy(update={**larger, "deadline_s": limits.deadline_s}),
    )
