"""The HTTP face of an endpoint for images. It runs in a replica, and as well without Ray in a test."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.responses import Response

from ray_mlops.serving import edge, image_documents, uploads
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.appender import Appender
from ray_mlops.serving.deadline import Turn, in_time
from ray_mlops.serving.image_answers import Answerer
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.layers import surround


def build_image_app(
    answerer: Answerer,
    model: Mapping[str, Any],
    limits: ImageLimits,
    *,
    health: Mapping[str, Any],
    ring: KeyRing | None = None,
    log: Appender | None = None,
) -> FastAPI:
    """The application that answers with one model; `model` is what `GET /model` tells, `health` what `/health` does.

    Without the keys of a ring everybody may ask; `log` gets a line a request.
    """
    app = FastAPIOffline(title=f"{model['name']}, version {model['version']}", version=model["version"])
    pinned = {"model": model["name"], "version": answerer.pinned.version, "digest": answerer.pinned.digest}
    classes = answerer.predictor.classes

    @app.get("/health", summary="Is it answering, and with which version", tags=["endpoint"])
    async def get_health() -> Response:
        return edge.answer(200, health)

    @app.get("/model", summary="Metadata, classes and an example", tags=["endpoint"])
    async def get_model() -> Response:
        return edge.answer(200, model)

    @app.post("/predict", **image_documents.predict(classes, limits))
    async def post_predict(request: Request) -> Response:
        request_id = edge.request_id(request)
        top = edge.whole_number(request, "top", min(limits.top, len(classes)), least=1, most=len(classes))
        body = await edge.body_of(request, most_bytes=limits.max_body_bytes, seconds=limits.body_s)
        files = await uploads.pictures(body, request.headers.get("content-type"), most=limits.max_images)
        turn = Turn()
        work = asyncio.ensure_future(answerer.answer(files, top=top, request_id=request_id, turn=turn))
        instead = (
            partial(answerer.degraded, files, top=top, request_id=request_id) if answerer.prior is not None else None
        )
        answers = await in_time(work, instead, turn, limits.deadline_s)
        content = answers[0] if uploads.ONE in files else {"results": answers}
        return edge.answer(200, {**content, **pinned, "request_id": request_id})

    @app.get("/stats", **image_documents.stats())
    async def get_stats() -> Response:
        return edge.answer(200, {"capture": answerer.capture.counts()})

    edge.handle_errors(app)
    surround(app, limits, answerer.capture, ring=ring, log=log)
    return app
