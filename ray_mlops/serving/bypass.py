"""Past Serve: what a replica is asked most goes from its HTTP server straight to its application.

Serve makes of each request what its handles, routers, metrics and watchers may need, which costs more than the answer. What
an endpoint needs of that is here: no more at once than it takes, a bounded queue before it, and a count of both for the
autoscaling. Serve calls `middlewares` on nodes with the settings of `platform.ray_settings`.
"""

import asyncio
from typing import TYPE_CHECKING

from pydantic import Field
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ray_mlops.contract import Frozen
from ray_mlops.platform.priority import come_first
from ray_mlops.serving import edge, whole_answers
from ray_mlops.serving.schema import Problem

if TYPE_CHECKING:
    from fastapi import FastAPI

ALONE = "alone"  # marks the state of a request that nobody has handled before
_ways: dict[str, "Way"] = {}  # by path: a process holds one replica


class Room(Frozen):
    """How many requests a replica answers at once, and how many may wait until it can."""

    ongoing: int = Field(default=64, ge=1)
    queued: int = Field(default=256, ge=1)


class Way:
    """An application that answers without Serve; `count` is how many requests it is answering, or will."""

    def __init__(self, app: ASGIApp, root_path: str, room: Room) -> None:
        self._app, self._root_path, self._room = app, root_path, room
        self._free = asyncio.Semaphore(room.ongoing)
        self.count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as soon as there is room; with 503 where too many wait."""
        if self.count >= self._room.ongoing + self._room.queued:
            told = f"{self._room.queued} requests are waiting for this replica, as many as may: try again"
            return await edge.refusal(503, [Problem(field="", message=told)], {"retry-after": "1"})(
                scope, receive, send
            )
        scope["root_path"] = self._root_path
        scope.setdefault("state", {})[ALONE] = True
        self.count += 1
        try:
            async with self._free:
                await self._app(scope, receive, send)
        finally:
            self.count -= 1


class Bypass:
    """Sends `POST` to one of the paths of this process its way, all else to Serve."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        way = _ways.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        await (way or self._app)(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve puts before its own handling, in replicas and in its proxy, before it starts the server of either.

    The proxy gets the priority of what answers, which a replica has taken by itself.
    """
    come_first()
    whole_answers.use()
    return [Middleware(Bypass)]


def lay(app: "FastAPI", endpoint: str, route: str, room: Room) -> Way:
    """Have `POST route` of this process's replica, which `direct` answers, bypass Serve, where Serve lets it, and the framework:
    only the layers that were put around the application stay."""
    layered: ASGIApp = app
    for layer in reversed(app.user_middleware):
        layered = layer.cls(layered, *layer.args, **layer.kwargs)
    way = _ways[f"/{endpoint}{route}"] = Way(layered, f"/{endpoint}", room)
    return way
