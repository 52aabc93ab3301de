"""What every application has around it, plain ASGI, the outermost first: one line of log a request, the guard, a bound on
how many come in, and no answer before its lines are in the capture log."""

import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ray_mlops.serving import edge, protocols
from ray_mlops.serving.access.guard import OPEN, Guard, path_of
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.appender import Appender
from ray_mlops.serving.bypass import ALONE
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.limits import RequestLimits
from ray_mlops.serving.redaction import redact
from ray_mlops.serving.rollouts.choice import Chosen
from ray_mlops.serving.schema import Problem
from ray_mlops.serving.tracing import Trace, random_hex
from ray_mlops.serving.watching import Watcher

_READ = frozenset({b"x-request-id", b"traceparent"})
_ILLEGAL = frozenset({400, 413, 415, 422})  # what the caller has sent is at fault
_GONE = 499  # the caller hung up: no answer was sent


def surround(
    app: FastAPI,
    limits: RequestLimits,
    capture: Capture,
    *,
    ring: KeyRing | None,
    log: Appender | None,
    watcher: Watcher | None = None,
) -> None:
    """Put the layers around an application; without the keys of a ring everybody may ask, without a log none is written, and
    without a watcher nothing is counted."""
    app.add_middleware(Settled, capture=capture)
    app.add_middleware(Chosen)
    app.add_middleware(Bounded, most=limits.max_ongoing)
    if ring:
        app.add_middleware(Guard, ring=ring, words=protocols.words)
    app.add_middleware(Logged, log=log, watcher=watcher)


class Logged:
    """Gives a request its id and its span, and has one line written of it: when, what was asked of which route, by the
    holder of which key, the status and how long it took. Never what was sent, nor what a path or an error may hold of it.

    What nobody caught is answered 500; its traceback goes to the log, redacted, and to no other.
    """

    def __init__(self, app: ASGIApp, log: Appender | None, watcher: Watcher | None = None) -> None:
        self._app, self._log, self._watcher = app, log, watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        told = _Told(scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                told.started(message)
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, others must neither see nor log what it holds
            told.error = redact("".join(traceback.format_exception(error)))
            if told.status != _GONE:
                raise RuntimeError(f"the answer to request {told.request_id} broke off; see its log") from None
            message = f"the endpoint failed; its log has the reason under the request id {told.request_id}"
            await edge.refusal(500, [Problem(field="", message=message)])(scope, receive, answer)
        finally:
            if self._log:
                self._log.write([told.line()])
            if self._watcher and told.status in _ILLEGAL:
                self._watcher.refused()


class _Told:
    """What is known of one request."""

    def __init__(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in reversed(scope["headers"]) if name in _READ}
        given, state = headers.get(b"x-request-id", ""), scope.get("state", {})
        self._scope, self._since = scope, time.perf_counter()
        self._returned = b"x-request-id" in headers and ALONE not in state
        self._own = not edge.REQUEST_ID.fullmatch(given)
        self.request_id = random_hex(16) if self._own else given
        self.trace = Trace.of(headers.get(b"traceparent", ""))
        self.status, self.error = _GONE, ""
        scope["state"] = {**state, "request_id": self.request_id}

    def started(self, message: Message) -> None:
        self.status = message["status"]
        headers = [*message.get("headers", ()), (b"traceparent", self.trace.traceparent.encode())]
        if not self._returned:  # otherwise Serve, which makes one where the caller has not, sends it back
            headers.append((b"x-request-id", self.request_id.encode()))
        message["headers"] = headers

    def line(self) -> bytes:
        scope = self._scope
        route = getattr(scope.get("route"), "path", None)
        known: Mapping[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "request_id": self.request_id if self._own else redact(self.request_id),
            "trace_id": self.trace.trace_id,
            "span_id": self.trace.span_id,
            "parent_id": redact(self.trace.parent) if self.trace.parent else None,
            "method": scope["method"],
            "route": route,  # as declared, without what a caller put into the path
            "status": self.status,
            "ms": round(1000 * (time.perf_counter() - self._since), 3),
            "key": redact(key) if (key := scope["state"].get("key")) else None,
        }
        failed = {"error": self.error} if self.error else {}  # redacted
        return orjson.dumps({**known, **failed}, option=orjson.OPT_APPEND_NEWLINE)


class Bounded:
    """Refuses with 503 and `Retry-After` what comes while `most` requests are being answered; health is always told."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most, self._ongoing = app, most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http" or path_of(scope) in OPEN:
            return await self._app(scope, receive, send)
        if self._ongoing >= self._most:
            message = f"this replica is answering {self._most} requests, as many as it takes at once: try again"
            return await edge.refusal(503, [Problem(field="", message=message)], {"retry-after": "1"})(
                scope, receive, send
            )
        self._ongoing += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._ongoing -= 1


class Settled:
    """Sends no answer before the capture log holds what was to be logged of it."""

    def __init__(self, app: ASGIApp, capture: Capture) -> None:
        self._app, self._capture = app, capture

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._capture.settled()
            await send(message)

        await self._app(scope, receive, answer)
