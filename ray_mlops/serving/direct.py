"""The short way to the route that is asked most, plain ASGI: no routing, no dependencies, no validation but our own.

What it answers, and refuses, is what the route itself would say: it calls the same function. All else goes on as before.
"""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ray_mlops.serving import edge
from ray_mlops.serving.access.guard import path_of

Answer = Callable[[Request], Awaitable[Response]]


class Direct:
    """Answers `POST path` of an application by the endpoint of its route, and hands on what else is asked."""

    def __init__(self, app: ASGIApp, path: str, route: APIRoute, answer: Answer) -> None:
        self._app, self._path, self._route, self._answer = app, path, route, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http" or scope["method"] != "POST" or path_of(scope) != self._path:
            return await self._app(scope, receive, send)
        scope["route"] = self._route  # as routing would, for the log
        try:
            response = await self._answer(Request(scope, receive))
        except edge.REFUSED as error:
            response = edge.refused_as(error)
        await response(scope, receive, send)


def shorten(app: FastAPI, path: str) -> None:
    """Have `POST path` of an application take the short way; below all layers that are put around it later."""
    (route,) = (one for one in app.routes if isinstance(one, APIRoute) and (one.path, one.methods) == (path, {"POST"}))
    app.add_middleware(Direct, path=path, route=route, answer=route.endpoint)
