"""The HTTP face of an endpoint for transactions. It runs in a replica, and as well without Ray in a test.

The body is validated once, by the schema; whatever asks the model or the store runs in one worker thread, so that the
event loop stays free to answer others and to give up on what takes too long.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from starlette.responses import Response

from ray_mlops.serving import direct, documents, edge, metrics_route, protocols, try_page
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.appender import Appender
from ray_mlops.serving.asynchronous import routes as asynchronous
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.attached import NOTHING, Attached
from ray_mlops.serving.layers import surround
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.rollouts.choice import Served
from ray_mlops.serving.rollouts.switch import Switch
from ray_mlops.serving.rollouts.tally import CHAMPION
from ray_mlops.serving.rollouts.transactions import TransactionSwitch
from ray_mlops.serving.schema import label_schema, transaction_schema
from ray_mlops.serving.scoring import Scorer
from ray_mlops.serving.transactions import Transactions

T = TypeVar("T")


def build_app(
    scorer: Scorer,
    model: Mapping[str, Any],
    limits: Limits,
    *,
    health: Mapping[str, Any],
    ring: KeyRing | None = None,
    log: Appender | None = None,
    attached: Attached = NOTHING,
) -> FastAPI:
    """The application that answers for one scorer; `model` is what `GET /model` tells, `health` what `/health` does.

    Without the keys of a ring everybody may ask; `log` gets a line a request.
    """
    title = f"{model['name']}, version {model['version']}"
    app = try_page.application(title, model["version"], keys=ring is not None)
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scoring")

    def run(work: Callable[[], T], /) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(thread, work)

    @app.get("/health", summary="Is it answering, and with which version", tags=["endpoint"])
    async def get_health() -> Response:
        return edge.answer(200, health)

    schema = transaction_schema(scorer.predictor.definition, most=limits.max_transactions)
    switch = attached.switch or Switch(model["name"], Served(CHAMPION, scorer.version, scorer.digest))
    rollout = TransactionSwitch(switch, scorer, patience_s=limits.deadline_s / 2)
    asked = Transactions(model["name"], scorer, schema, limits, run, model["example"] or {}, rollout)
    _answer_transactions(app, asked, model)
    _answer_labels(app, asked)
    protocols.add(app, asked)
    if queue := attached.queue:
        asynchronous.add(app, _patient(asked, queue.limits), queue, scorer.capture.settled)
    metrics_route.add(app, attached.watcher, endpoint=model["name"], version=model["version"])
    edge.handle_errors(app)
    direct.shorten(app, "/score")
    surround(app, limits, scorer.capture, ring=ring, log=log, watcher=attached.watcher)
    return app


def _patient(asked: Transactions, limits: Asynchronous) -> Transactions:
    """The same, for those who wait: for more at once, and without an answer from anything but the model."""
    larger = {"max_transactions": limits.max_rows, "max_body_bytes": limits.max_body_bytes}
    return replace(
        asked,
        scorer=replace(asked.scorer, substitute=None),
        schema=transaction_schema(asked.scorer.predictor.definition, most=limits.max_rows),
        limits=asked.limits.model_copy(update={**larger, "deadline_s": limits.deadline_s}),
    )


def _answer_transactions(app: FastAPI, asked: Transactions, model: Mapping[str, Any]) -> None:
    limits, described = asked.limits, {**model, "schema": asked.schema.json_schema()}

    @app.get("/model", summary="Metadata, request schema and an example", tags=["endpoint"])
    async def get_model() -> Response:
        return edge.answer(200, described)

    @app.post("/score", **documents.score(described, limits.reasons, limits.max_reasons))
    async def post_score(request: Request) -> Response:
        request_id = edge.request_id(request)
        reasons = edge.whole_number(request, "reasons", limits.reasons, least=0, most=limits.max_reasons)
        events, batch = await asked.read(await protocols.body(asked, request), request.headers.get("content-type"))
        answers = await asked.answer(events, request_id=request_id, detail=reasons)
        content = {"results": answers} if batch else answers[0]
        return edge.answer(200, {**content, **asked.version, "request_id": request_id})


def _answer_labels(app: FastAPI, asked: Transactions) -> None:
    scorer = asked.scorer
    schema = label_schema(scorer.predictor.definition, most=asked.limits.max_transactions)
    labelled = replace(asked, schema=schema)

    @app.post("/labels", **documents.labels(schema.json_schema()))
    async def post_labels(request: Request) -> Response:
        request_id = edge.request_id(request)
        labels, _ = await labelled.read(await protocols.body(asked, request), request.headers.get("content-type"))
        recording = asked.run(lambda: scorer.label(labels, request_id=request_id))
        waiting = await edge.within(recording, asked.limits.deadline_s)
        return edge.answer(200, {"recorded": len(labels), "waiting": waiting, "request_id": request_id})

    @app.get("/stats", **documents.stats())
    async def get_stats() -> Response:
        stats = await edge.within(asked.run(scorer.stats), asked.limits.deadline_s)
        return edge.answer(200, {**stats.model_dump(), "capture": scorer.capture.counts()})
