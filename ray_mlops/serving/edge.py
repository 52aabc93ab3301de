"""The edge of an endpoint that every application has alike: reading a body within limits, deadlines, refusals.

Every answer to bad input is a 4xx whose body is `{"error": {"message", "problems": [{"field", "message"}]}}`.
"""

import asyncio
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ray_mlops.errors import DataError, StorageError
from ray_mlops.serving.schema import BadRequest, Problem

T = TypeVar("T")
REFUSED: tuple[type[Exception], ...] = (
    BadRequest,
    DataError,
    StorageError,
)  # what a caller is told of, with its reason
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def refused(status: int, message: str, field: str = "") -> BadRequest:
    """What to raise for a request that is wrong in one way."""
    return BadRequest(status, [Problem(field=field, message=message)])


async def body_of(request: Request, *, most_bytes: int, seconds: float) -> bytes:
    """The body; raises `BadRequest` 413 when it is larger (its length header is enough), 408 when it takes longer."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise refused(415, "is not supported; send the body as it is", "content-encoding")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most_bytes:
        raise _too_large(most_bytes)
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, most_bytes)
    except ClientDisconnect:
        raise refused(400, "the body ended early") from None
    except TimeoutError:
        raise refused(408, f"the body did not arrive within {seconds:g} s") from None


async def within(work: Awaitable[T], seconds: float) -> T:
    """The result of some work, when it comes in time; `StorageError` (503) otherwise."""
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError:
        raise StorageError(f"no answer within {seconds:g} s") from None


def request_id(request: Request, preferred: str = "") -> str:
    """The one that a protocol's caller prefers, else that of the request: see `layers.Logged`."""
    return preferred if REQUEST_ID.fullmatch(preferred) else request.scope["state"]["request_id"]


def whole_number(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    """A query parameter from `least` to `most`; raises `BadRequest` 422 for anything else."""
    if not request.scope["query_string"] and least <= default <= most:
        return default
    given = request.query_params.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,6}", given) or not least <= int(given) <= most:
        raise refused(422, f"should be a whole number from {least} to {most}", name)
    return int(given)


def answer(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return Response(orjson.dumps(content), status_code=status, media_type="application/json", headers=headers)


def handle_errors(app: FastAPI) -> None:
    """Have an application answer every error as this module says."""

    @app.exception_handler(HTTPException)
    async def no_such_thing(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}; see /docs"
        return refusal(error.status_code, [Problem(field="", message=message)], error.headers)

    async def told(request: Request, error: Exception) -> Response:
        return refused_as(error)

    for kind in REFUSED:
        app.add_exception_handler(kind, told)


def refused_as(error: Exception) -> Response:
    """The answer to one of the errors `REFUSED`."""
    if isinstance(error, BadRequest):
        return refusal(error.status, error.problems)
    told = [Problem(field="", message=str(error))]
    return refusal(422, told) if isinstance(error, DataError) else refusal(503, told, {"retry-after": "1"})


async def _read(request: Request, most_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise _too_large(most_bytes)
    return bytes(body)


def _too_large(most_bytes: int) -> BadRequest:
    return refused(413, f"the body is larger than {most_bytes:,} bytes")


def refusal(status: int, problems: Sequence[Problem], headers: Mapping[str, str] | None = None) -> Response:
    """The answer that says what is wrong."""
    first = problems[0]
    message = f"{first.field} {first.message}" if first.field else first.message
    listed = [problem.model_dump() for problem in problems]
    return answer(status, {"error": {"message": message, "problems": listed}}, headers)
