"""Which variant a request asks for, and which one it got: known to whoever works for the request, in every protocol."""

import hashlib
from contextvars import ContextVar
from typing import NamedTuple
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALL = "AllTraffic"  # SageMaker's name for "by the weights"
HEADERS = ("x-target-variant", "x-amzn-sagemaker-target-variant")
_READ = tuple(name.encode() for name in HEADERS)
PARAMETER = b"variant="
SERVED, VERSION = "x-served-variant", "x-served-version"


class Served(NamedTuple):
    """The variant that answered a request."""

    variant: str
    version: str
    digest: str


class Choice:
    """What one request asks for, and what it got; shared by all tasks that work for it."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.served: Served | None = None


_choice: ContextVar[Choice | None] = ContextVar("choice", default=None)


def wanted() -> str:
    """The variant that the request at hand names."""
    choice = _choice.get()
    return choice.wanted if choice else ALL


def served() -> Served | None:
    """The variant that answered the request at hand; None before one has."""
    choice = _choice.get()
    return choice.served if choice else None


def tell(answered: Served) -> None:
    """Note which variant answered the request at hand."""
    if choice := _choice.get():
        choice.served = answered


def point(salt: str, key: bytes) -> float:
    """Where a key falls in [0, 1): always at the same place with the same salt, so that a retry gets the same variant, and one
    that the challenger has answered at a small share it also answers at a larger one."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, key=salt.encode()[:64]).digest()) / (1 << 64)


class Chosen:
    """Reads the variant that a request names, by a header or the parameter `variant`, and names in the answer the one it got."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        choice = Choice(_named(scope))
        _choice.set(choice)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 300 and (answered := choice.served):
                told = ((SERVED, answered.variant), (VERSION, answered.version))
                named = ((name.encode(), value.encode("latin-1")) for name, value in told)
                message["headers"] = [*message.get("headers", ()), *named]
            await send(message)

        await self._app(scope, receive, answer)


def _named(scope: Scope) -> str:
    given = {name: value for name, value in reversed(scope["headers"]) if name in _READ}
    for name in _READ:
        if name in given:
            return given[name].decode("latin-1")
    query = scope["query_string"]
    return parse_qs(query.decode("latin-1")).get("variant", [ALL])[0] if PARAMETER in query else ALL
