"""Many small models behind one endpoint: each is an application of its own, held while it is asked, let go for another.

Serve's multiplexing holds the models and lets the one go that nobody has asked for longest; here is what is asked of them.
"""

import asyncio
import difflib
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from fastapi import FastAPI
from pydantic import Field
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ray_mlops.contract import Frozen
from ray_mlops.errors import RayMlopsError
from ray_mlops.serving import edge, try_page
from ray_mlops.serving.access.guard import MODELS, Guard
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.openapi import content, responses
from ray_mlops.serving.protocols import sagemaker, words
from ray_mlops.serving.schema import Problem

_TARGET = "x-amzn-sagemaker-target-model"
_OURS = ("route", "endpoint", "app", "router")  # what routing has noted in the scope
_ARCHIVE = ".tar.gz"  # what models of SageMaker are called by


class Multiplex(Frozen):
    """How many models each replica holds at once."""

    max_models: int = Field(default=8, ge=1)


class Closes(Protocol):
    """What a model holds besides its application."""

    def close(self) -> None:
        """Give it back."""
        ...


class Loaded:
    """The application of a model that has been loaded. Let go while it answers, it gives back what it holds afterwards."""

    def __init__(self, app: ASGIApp, holder: Closes) -> None:
        self._app, self._holder, self._ongoing = app, holder, 0
        self._lock, self._let_go, self._closed = threading.Lock(), False, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        with self._lock:
            self._ongoing += 1
        try:
            await self._app(scope, receive, send)
        finally:
            if self._over(ended=1):
                await asyncio.get_running_loop().run_in_executor(None, self._holder.close)

    def __del__(self) -> None:
        """What Serve calls, in a thread, when another model takes its place."""
        self._let_go = True
        if self._over(ended=0):
            self._holder.close()

    def _over(self, *, ended: int) -> bool:
        """Whether this moment nobody needs it any more; said once."""
        with self._lock:
            self._ongoing -= ended
            now = self._let_go and not self._ongoing and not self._closed
            self._closed |= now
        return now


Load = Callable[[str], Awaitable[Loaded]]


class Models:
    """Hands what is asked of `/models/<name>/...` to that model, loaded by `load` where it is not; 404 for other names."""

    def __init__(self, names: Sequence[str], load: Load) -> None:
        self._names, self._load = tuple(names), load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await (await self.find(scope["path_params"]["model"]))(scope, receive, send)

    async def find(self, name: str) -> ASGIApp:
        """What answers for a model; a refusal where there is none, or it cannot be loaded."""
        if name not in self._names:
            near = difflib.get_close_matches(name, self._names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {len(self._names)}: see /models"
            return edge.refusal(404, [Problem(field="model", message=f"no model is called {name!r} here; {hint}")])
        try:
            return await self._load(name)
        except RayMlopsError as error:
            told = [Problem(field="model", message=f"{name!r} cannot be loaded: {error}")]
            return edge.refusal(503, told, {"retry-after": "1"})


def build_models_app(
    name: str,
    models: Mapping[str, Mapping[str, Any]],
    load: Load,
    *,
    loaded: Callable[[], Sequence[str]],
    health: Mapping[str, Any],
    ring: KeyRing,
) -> FastAPI:
    """The application in front of many; `models` says of each what is told of it, `loaded` which are held now."""
    app = try_page.application(f"{name}, {len(models)} models", str(len(models)), keys=True)
    mounted = Models(tuple(models), load)

    async def get_health() -> Response:
        return edge.answer(200, health)

    for path in ("/health", "/ping"):
        app.get(path, summary="Is it answering", tags=["endpoint"])(get_health)

    @app.get("/models", **_listing())
    async def get_models() -> Response:
        held = loaded()
        return edge.answer(200, {"models": [{**told, "loaded": one in held} for one, told in models.items()]})

    @app.post(f"/endpoints/{name}/invocations", **_document())
    async def post_runtime(request: Request) -> Response:
        return await _invoked(request, mounted, models)

    app.mount("/models/{model}", mounted)
    edge.handle_errors(app)
    app.add_middleware(Guard, ring=ring, words=words)
    return app


async def _invoked(request: Request, mounted: Models, models: Mapping[str, Any]) -> Response:
    """What answers SageMaker's `invoke_endpoint` for its `TargetModel`: the model's own route of that kind."""
    target = request.headers.get(_TARGET, "").removesuffix(_ARCHIVE)
    if target not in models:
        return sagemaker.refusal(404, f"TargetModel {target!r} is none of {', '.join(models)}")
    found = await mounted.find(target)
    return _Forwarded(found, target)


class _Forwarded(Response):
    """Another application's answer to the same request, as if it had been asked below `/models/<target>`."""

    def __init__(self, app: ASGIApp, target: str) -> None:
        super().__init__()
        self._app, self._target = app, target

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        root = f"{scope.get('root_path', '')}{MODELS}{self._target}"
        headers = [(name, value) for name, value in Headers(scope=scope).raw if name != _TARGET.encode()]
        path = f"{root}/endpoints/{self._target}/invocations"
        inner = {**scope, "root_path": root, "path": path, "raw_path": path.encode(), "headers": headers}
        await self._app({key: value for key, value in inner.items() if key not in _OURS}, receive, send)


def _listing() -> dict[str, Any]:
    listed = {"type": "object", "properties": {"models": {"type": "array", "items": {"type": "object"}}}}
    return {"summary": "The models, and which are loaded here", "responses": responses("Models", listed, {})}


def _document() -> dict[str, Any]:
    target = {"name": _TARGET, "in": "header", "required": True, "schema": {"type": "string"}}
    message = {"type": "object", "properties": {"Message": {"type": "string"}}}
    told = {400: "`ValidationError`: no such model", 424: "`ModelError`", 503: "`ServiceUnavailable`: try again"}
    return {
        "summary": "Answer `invoke_endpoint` of boto3 with a `TargetModel`; each model's own routes are below /models/<name>",
        "responses": {status: {"description": text, "content": content(message)} for status, text in told.items()},
        "openapi_extra": {"parameters": [target]},
    }
