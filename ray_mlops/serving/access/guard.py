"""The guard in front of an application, plain ASGI: what it refuses costs neither routing nor the reading of a body."""

import math
from collections.abc import Callable, Mapping

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ray_mlops.serving import edge, try_page
from ray_mlops.serving.access import keyring
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.schema import Problem

# Load balancers ask for these without a key; they tell a name and a version. The page asks for a key itself.
OPEN = frozenset({"/health", "/ping", "/v2/health/live", "/v2/health/ready", try_page.PATH})
ANY_KEY = frozenset({"/model", "/openapi.json"})
SCOPES: Mapping[str, str] = {"/labels": "label", "/metrics": "metrics", "/stats": "admin"}
MODELS = "/models/"
_MAKE = "`ray-mlops keys create` makes one"
_CREDENTIALS = (b"authorization", b"x-api-key")
Headers = Mapping[str, str] | None
Words = Callable[[int, str, Headers], Response]


def native(status: int, message: str, headers: Headers) -> Response:
    """A refusal in the words of the endpoint's own routes."""
    return edge.refusal(status, [Problem(field="authorization", message=message)], headers)


class Guard:
    """Lets in who has a key for the route: scope `label` for `/labels`, `metrics` for `/metrics`, `admin` for `/stats`, `score` for all others.

    `admin` opens every route. 401 without a valid key, 403 with one of another scope, 429 above the rate of the key;
    `words` says in which words a path is refused.
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, words: Callable[[str], Words] = lambda _: native) -> None:
        self._app, self._ring, self._words = app, ring, words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http" or not self._ring.closed:
            return await self._app(scope, receive, send)
        path = path_of(scope)
        refused = _Refusal.find(scope, path, self._ring)
        await (refused.answer(self._words(path)) if refused else self._app)(scope, receive, send)


def path_of(scope: Scope) -> str:
    """The path below the application's own prefix."""
    return scope["path"].removeprefix(scope.get("root_path", ""))


class _Refusal:
    """Why somebody is not let in."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        self._status, self._message, self._headers = status, message, headers

    def answer(self, words: Words) -> ASGIApp:
        return words(self._status, self._message, self._headers)

    @classmethod
    def find(cls, scope: Scope, path: str, ring: KeyRing) -> "_Refusal | None":
        if path in OPEN or path.startswith(f"{try_page.ASSETS}/"):
            return None
        given = _credentials(scope)
        if len(given) != 1:
            told = f"is missing: send `Authorization: Bearer KEY` or `X-API-Key: KEY`; {_MAKE}"
            return cls.unknown(told if not given else "holds more than one key: send one")
        key = ring.find(given[0])
        if key is None:
            return cls.unknown(f"holds no key of this endpoint; {_MAKE}")
        if (state := keyring.state(key)) != "valid":
            return cls.unknown(f"holds the key {key.name!r} ({key.id}), which is {state}; {_MAKE}")
        scope.setdefault("state", {})["key"] = key.name
        need = SCOPES.get(path, "score")
        # The application of a model that is one of many asks for the scope itself.
        if path not in ANY_KEY and not path.startswith(MODELS) and not {need, "admin"}.intersection(key.scopes):
            has = ", ".join(key.scopes)
            return cls(403, f"holds the key {key.name!r} with scope {has}; {path} needs scope {need}")
        if wait := ring.wait_s(key):
            told = f"holds the key {key.name!r}, which may ask {key.rate:g} times a second; try again later"
            return cls(429, told, {"retry-after": str(math.ceil(wait))})
        return None

    @classmethod
    def unknown(cls, message: str) -> "_Refusal":
        return cls(401, message, {"www-authenticate": "Bearer"})


def _credentials(scope: Scope) -> list[str]:
    """What was sent as a key. Other schemes are left to whom they are for: SageMaker's clients sign what they send."""
    found = []
    for name, value in scope["headers"]:
        if name in _CREDENTIALS:
            text = value.decode("latin-1").strip()
            kind, _, rest = text.partition(" ")
            if name == b"x-api-key":
                found.append(text)
            elif kind.lower() == "bearer":
                found.append(rest.strip())
    return found
