"""The HTTP face of an endpoint: routes, limits and errors. It runs in a replica, and as well without Ray in a test.

Every answer to bad input is a 4xx whose body is `{"error": {"message", "problems": [{"field", "message"}]}}`. The body is
validated once, by the schema; whatever asks the model or the store runs in one worker thread, so that the event loop
stays free to answer others and to give up on what takes too long.
"""

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import orjson
from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ray_mlops.errors import DataError, StorageError
from ray_mlops.serving import documents
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.schema import BadRequest, Problem, label_schema, transaction_schema
from ray_mlops.serving.scoring import Scorer

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_JSON_TYPE = re.compile(r"application/([a-z0-9.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)


T = TypeVar("T")


class Run(Protocol):
    """Runs work where requests do not wait for it, for as long as a request may take."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


def build_app(scorer: Scorer, model: Mapping[str, Any], limits: Limits, *, health: Mapping[str, Any]) -> FastAPI:
    """The application that answers for one scorer; `model` is what `GET /model` tells, `health` what `/health` does."""
    app = FastAPIOffline(title=f"{model['name']}, version {model['version']}", version=model["version"])
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scoring")

    async def run(work: Callable[[], T], /) -> T:
        return await _within(asyncio.get_running_loop().run_in_executor(thread, work), limits.deadline_s)

    @app.get("/health", summary="Is it answering, and with which version", tags=["endpoint"])
    async def get_health() -> Response:
        return _json(200, health)

    _answer_transactions(app, scorer, model, limits, run=run)
    _answer_labels(app, scorer, limits, run=run)
    _handle_errors(app)
    return app


def _answer_transactions(app: FastAPI, scorer: Scorer, model: Mapping[str, Any], limits: Limits, *, run: Run) -> None:
    schema = transaction_schema(scorer.predictor.definition, most=limits.max_transactions)
    described = {**model, "schema": schema.json_schema()}
    version = {"model": model["name"], "version": scorer.version, "digest": scorer.digest}

    @app.get("/model", summary="Metadata, request schema and an example", tags=["endpoint"])
    async def get_model() -> Response:
        return _json(200, described)

    @app.post("/score", **documents.score(described, limits.reasons, limits.max_reasons))
    async def post_score(request: Request) -> Response:
        request_id = _request_id(request)
        reasons = _reasons(request, limits)
        events, batch = schema.read(await _body(request, limits))
        answers = await run(lambda: scorer.score(events, reasons=reasons, request_id=request_id))
        content = {"results": answers} if batch else answers[0]
        return _json(200, {**content, **version, "request_id": request_id})


def _answer_labels(app: FastAPI, scorer: Scorer, limits: Limits, *, run: Run) -> None:
    schema = label_schema(scorer.predictor.definition, most=limits.max_transactions)

    @app.post("/labels", **documents.labels(schema.json_schema()))
    async def post_labels(request: Request) -> Response:
        request_id = _request_id(request)
        labels, _ = schema.read(await _body(request, limits))
        waiting = await run(lambda: scorer.label(labels, request_id=request_id))
        return _json(200, {"recorded": len(labels), "waiting": waiting, "request_id": request_id})

    @app.get("/stats", **documents.stats())
    async def get_stats() -> Response:
        return _json(200, (await run(scorer.stats)).model_dump())


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(BadRequest)
    async def bad_request(request: Request, error: BadRequest) -> Response:
        return _refusal(error.status, error.problems)

    @app.exception_handler(HTTPException)
    async def no_such_thing(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}; see /docs"
        return _refusal(error.status_code, [Problem(field="", message=message)], error.headers)

    @app.exception_handler(DataError)
    async def unreadable(request: Request, error: DataError) -> Response:
        return _refusal(422, [Problem(field="", message=str(error))])

    @app.exception_handler(StorageError)
    async def storage(request: Request, error: StorageError) -> Response:
        return _refusal(
            503, [Problem(field="", message=f"the entity store is not available: {error}")], {"retry-after": "1"}
        )


async def _body(request: Request, limits: Limits) -> bytes:
    kind = request.headers.get("content-type")
    if kind is not None and not _JSON_TYPE.fullmatch(kind.strip()):
        message = f"is {kind!r}; send application/json"
        raise BadRequest(415, [Problem(field="content-type", message=message)])
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise BadRequest(415, [Problem(field="content-encoding", message="is not supported; send the body as it is")])
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.max_body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.deadline_s):
            return await _read(request, limits)
    except ClientDisconnect:
        raise BadRequest(400, [Problem(field="", message="the body ended early")]) from None
    except TimeoutError:
        message = f"the body did not arrive within {limits.deadline_s:g} s"
        raise BadRequest(408, [Problem(field="", message=message)]) from None


async def _read(request: Request, limits: Limits) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limits.max_body_bytes:
            raise _too_large(limits)
    return bytes(body)


def _too_large(limits: Limits) -> BadRequest:
    return BadRequest(413, [Problem(field="", message=f"the body is larger than {limits.max_body_bytes:,} bytes")])


async def _within(work: "asyncio.Future[T]", seconds: float) -> T:
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError:
        raise StorageError(f"no answer within {seconds:g} s") from None


def _request_id(request: Request) -> str:
    """The caller's, or what Serve's proxy gave; the proxy also puts it on the answer."""
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _reasons(request: Request, limits: Limits) -> int:
    given = request.query_params.get("reasons", str(limits.reasons))
    if not re.fullmatch(r"[0-9]{1,3}", given) or int(given) > limits.max_reasons:
        message = f"should be a whole number from 0 to {limits.max_reasons}"
        raise BadRequest(422, [Problem(field="reasons", message=message)])
    return int(given)


def _refusal(status: int, problems: Any, headers: Mapping[str, str] | None = None) -> Response:
    first = problems[0]
    message = f"{first.field} {first.message}" if first.field else first.message
    listed = [problem.model_dump() for problem in problems]
    return _json(status, {"error": {"message": message, "problems": listed}}, headers)


def _json(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    body = orjson.dumps(content)
    return Response(body, status_code=status, media_type="application/json", headers=headers)
