"""The HTTP face of an endpoint for transactions. It runs in a replica, and as well without Ray in a test.

The body is validated once, by the schema; whatever asks the model or the store runs in one worker thread, so that the
event loop stays free to answer others and to give up on what takes too long.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.responses import Response

from ray_mlops.serving import documents, edge
from ray_mlops.serving.access import nesting
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.appender import Appender
from ray_mlops.serving.deadline import Turn, in_time
from ray_mlops.serving.layers import surround
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.schema import label_schema, transaction_schema
from ray_mlops.serving.scoring import Scorer

_JSON_TYPE = re.compile(r"application/([a-z0-9.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
T = TypeVar("T")


class Run(Protocol):
    """Runs work where requests do not wait for it."""

    def __call__(self, work: Callable[[], T], /) -> "asyncio.Future[T]": ...


def build_app(
    scorer: Scorer,
    model: Mapping[str, Any],
    limits: Limits,
    *,
    health: Mapping[str, Any],
    ring: KeyRing | None = None,
    log: Appender | None = None,
) -> FastAPI:
    """The application that answers for one scorer; `model` is what `GET /model` tells, `health` what `/health` does.

    Without the keys of a ring everybody may ask; `log` gets a line a request.
    """
    app = FastAPIOffline(title=f"{model['name']}, version {model['version']}", version=model["version"])
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scoring")

    def run(work: Callable[[], T], /) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(thread, work)

    @app.get("/health", summary="Is it answering, and with which version", tags=["endpoint"])
    async def get_health() -> Response:
        return edge.answer(200, health)

    _answer_transactions(app, scorer, model, limits, run=run)
    _answer_labels(app, scorer, limits, run=run)
    edge.handle_errors(app)
    surround(app, limits, scorer.capture, ring=ring, log=log)
    return app


def _answer_transactions(app: FastAPI, scorer: Scorer, model: Mapping[str, Any], limits: Limits, *, run: Run) -> None:
    schema = transaction_schema(scorer.predictor.definition, most=limits.max_transactions)
    described = {**model, "schema": schema.json_schema()}
    version = {"model": model["name"], "version": scorer.version, "digest": scorer.digest}

    @app.get("/model", summary="Metadata, request schema and an example", tags=["endpoint"])
    async def get_model() -> Response:
        return edge.answer(200, described)

    @app.post("/score", **documents.score(described, limits.reasons, limits.max_reasons))
    async def post_score(request: Request) -> Response:
        request_id = edge.request_id(request)
        reasons = edge.whole_number(request, "reasons", limits.reasons, least=0, most=limits.max_reasons)
        events, batch = schema.read(await _body(request, limits))
        answers = await _scored(scorer, events, reasons, request_id, run=run, seconds=limits.deadline_s)
        content = {"results": answers} if batch else answers[0]
        return edge.answer(200, {**content, **version, "request_id": request_id})


def _answer_labels(app: FastAPI, scorer: Scorer, limits: Limits, *, run: Run) -> None:
    schema = label_schema(scorer.predictor.definition, most=limits.max_transactions)

    @app.post("/labels", **documents.labels(schema.json_schema()))
    async def post_labels(request: Request) -> Response:
        request_id = edge.request_id(request)
        labels, _ = schema.read(await _body(request, limits))
        recording = run(lambda: scorer.label(labels, request_id=request_id))
        waiting = await edge.within(recording, limits.deadline_s)
        return edge.answer(200, {"recorded": len(labels), "waiting": waiting, "request_id": request_id})

    @app.get("/stats", **documents.stats())
    async def get_stats() -> Response:
        stats = await edge.within(run(scorer.stats), limits.deadline_s)
        return edge.answer(200, {**stats.model_dump(), "capture": scorer.capture.counts()})


async def _scored(
    scorer: Scorer, events: Sequence[Mapping[str, Any]], reasons: int, request_id: str, *, run: Run, seconds: float
) -> list[dict[str, Any]]:
    """An answer per event within the deadline, a degraded one where there is no other."""
    turn = Turn()
    work = run(lambda: scorer.score(events, reasons=reasons, request_id=request_id, turn=turn))
    instead = partial(scorer.degraded, events, request_id=request_id) if scorer.substitute else None
    return await in_time(work, instead, turn, seconds)


async def _body(request: Request, limits: Limits) -> bytes:
    kind = request.headers.get("content-type")
    if kind is not None and not _JSON_TYPE.fullmatch(kind.strip()):
        raise edge.refused(415, f"is {kind!r}; send application/json", "content-type")
    body = await edge.body_of(request, most_bytes=limits.max_body_bytes, seconds=limits.body_s)
    nesting.check(body)
    return body
