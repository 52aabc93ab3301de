"""The routes of asynchronous inference: the endpoint's own, and those of boto3's `invoke_endpoint_async`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ray_mlops.serving import edge
from ray_mlops.serving.access.guard import OPEN, path_of
from ray_mlops.serving.asynchronous import documents
from ray_mlops.serving.asynchronous.queue import Queue
from ray_mlops.serving.asynchronous.records import State
from ray_mlops.serving.asynchronous.submission import Reception
from ray_mlops.serving.asynchronous.worker import Others, Worker
from ray_mlops.serving.edge import refused
from ray_mlops.serving.protocols import asked as seam
from ray_mlops.serving.protocols import sagemaker
from ray_mlops.serving.protocols.asked import Asked
from ray_mlops.serving.schema import Problem

_HEADER = "x-amzn-sagemaker-"
_AGAIN = {"retry-after": "1"}


def add(app: FastAPI, asked: Asked, queue: Queue, settled: Callable[[], Awaitable[None]]) -> None:
    """Have an application take requests in for later, and work them while it runs.

    `asked` answers them: with limits of their own, and nothing else where the model takes its time.
    """
    worker = Worker(queue, asked, settled)
    reception = Reception(worker)
    _native(app, reception)
    _sagemaker(app, reception, asked.name)
    _during(app, worker)
    app.add_middleware(_Watched, others=worker.others)


class _Watched:
    """Notes who waits for an answer."""

    def __init__(self, app: ASGIApp, others: Others) -> None:
        self._app, self._others = app, others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""
        if scope["type"] == "http" and not (path := path_of(scope)).startswith("/async") and path not in OPEN:
            self._others.came()
        await self._app(scope, receive, send)


def _native(app: FastAPI, reception: Reception) -> None:
    @app.post("/async", **documents.submit(reception.limits))
    async def post_async(request: Request) -> Response:
        headers = request.headers
        told = {"content_type": headers.get("content-type"), "accept": headers.get("accept")}
        state = await reception.submit(request, headers.get("idempotency-key"), **told)
        place = f"{request.scope.get('root_path', '')}/async/{state.id}"
        return edge.answer(202, _shown(state, request), {"location": place, **_AGAIN})

    @app.get("/async/{id}", **documents.state())
    async def get_async(request: Request) -> Response:
        return edge.answer(200, _shown(await reception.state(request), request))

    @app.get("/async/{id}/result", **documents.result())
    async def get_async_result(request: Request) -> Response:
        state = await reception.state(request)
        if state.state in ("pending", "running"):
            return edge.answer(202, _shown(state, request), _AGAIN)
        outcome, answer = await reception.result(state)
        if not outcome.done:
            return edge.refusal(424, [Problem(field="", message=f"{outcome.reason} ({outcome.status})")])
        return Response(answer, headers={"content-type": outcome.content_type, **outcome.headers})


def _shown(state: State, request: Request) -> dict[str, Any]:
    """What is told of a request; `result` is a path on the same server."""
    place = f"{request.scope.get('root_path', '')}/async/{state.id}"
    return {**state.model_dump(exclude={"digest", "owner"}), "result": f"{place}/result"}


def _sagemaker(app: FastAPI, reception: Reception, name: str) -> None:
    async def submit(request: Request) -> Response:
        state = await reception.submit(request, _header(request, "inference-id"), **_asked(request, reception.queue))
        output, failure = reception.queue.locations(state.id)
        headers = {f"{_HEADER}outputlocation": output, f"{_HEADER}failurelocation": failure}
        return edge.answer(202, {"InferenceId": state.id}, headers)

    @app.post(f"/endpoints/{name}/async-invocations", **documents.runtime())
    async def post_async_invocation(request: Request) -> Response:
        return await seam.shown(submit(request), _refusal)

    @app.post("/endpoints/{other}/async-invocations", include_in_schema=False)
    async def post_other_async(other: str) -> Response:
        return sagemaker.refusal(404, f"Endpoint {other} is not here; this URL is that of {name}")


def _asked(request: Request, queue: Queue) -> dict[str, Any]:
    uri = _header(request, "inputlocation") or ""
    if not queue.allows(uri):
        allowed = ", ".join([f"{queue.folder}/inputs", *queue.limits.inputs])
        raise refused(422, f"should be the URI of a file below {allowed}, not {uri!r}", "InputLocation")
    return {
        "input": uri,
        "content_type": _header(request, "content-type"),
        "accept": _header(request, "accept"),
        "keep_s": _seconds(request, "requestttlseconds", 60, 21_600),
        "deadline_s": _seconds(request, "invocationtimeoutseconds", 1, 3600),
    }


def _seconds(request: Request, name: str, least: int, most: int) -> int | None:
    given = _header(request, name)
    if given is None:
        return None
    if not given.isdecimal() or not least <= int(given) <= most:
        raise refused(422, f"should be a number of seconds from {least} to {most:,}", name)
    return int(given)


def _header(request: Request, name: str) -> str | None:
    return request.headers.get(f"{_HEADER}{name}")


def _refusal(status: int, message: str) -> Response:
    """What was not taken in never came to a model: SageMaker calls it a validation error."""
    return sagemaker.refusal(404 if status in (409, 422) else status, message)


def _during(app: FastAPI, worker: Worker) -> None:
    """Run a worker from the start of an application to its end."""
    before = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(running: FastAPI) -> AsyncIterator[Any]:
        async with before(running) as state:
            working = asyncio.create_task(worker.run())
            try:
                yield state
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)

    app.router.lifespan_context = lifespan
