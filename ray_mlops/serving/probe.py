"""Talking to an endpoint as its own deployer does: over plain HTTP, past any configured proxy, without Ray."""

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from ray_mlops.contract import Endpoint
from ray_mlops.errors import EndpointError
from ray_mlops.serving.replica import log_id

_PROBE_S = 10.0  # one that has scaled to zero starts first
# The deployer asks the very machine that it has just started Serve on, by an address that no certificate need name.
_TLS = ssl._create_unverified_context()
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_TLS))


def is_live(endpoint: Endpoint) -> bool:
    """Whether the endpoint answers within ten seconds, with the digest and the log it was deployed with; that of an exported one
    lies elsewhere."""
    found = _health(endpoint.url)
    own = not endpoint.capture or found.get("log") == log_id(endpoint.capture)
    return own and found.get("digest") == endpoint.digest


def wait(url: str, expected: Mapping[str, Any], *, seconds: float) -> None:
    """Wait until `url`/health answers as expected; raises `EndpointError` when it does not in time."""
    deadline = time.monotonic() + seconds
    while _health(url) != dict(expected):
        if time.monotonic() > deadline:
            raise EndpointError(f"{url}/health did not answer with version {expected['version']} within {seconds:g} s")
        time.sleep(0.1)


def ask(
    url: str, content: Mapping[str, Any], *, seconds: float, route: str = "score", key: str = ""
) -> Mapping[str, Any]:
    """The answer of `url`/`route` to one request in JSON; raises `EndpointError` with what came back instead, also where
    that is a degraded answer: the deployer wants to know whether the model answers."""
    headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}
    request = urllib.request.Request(f"{url}/{route}", json.dumps(content).encode(), headers)
    try:
        with _DIRECT.open(request, timeout=seconds) as answer:
            found = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise EndpointError(
            f"{url}/{route} refuses {str(dict(content))[:500]}: {error.read().decode()[:500]}"
        ) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EndpointError(f"{url}/{route} does not answer: {error}") from error
    if "degraded" in found:
        raise EndpointError(f"{url}/{route} has no time for the model, or no entity store: it answers {found}")
    return found


def get(url: str, *, key: str = "") -> Any:
    """What an endpoint tells at `url`, in JSON; raises `EndpointError` when it does not."""
    request = urllib.request.Request(url, headers={"x-api-key": key} if key else {})
    try:
        with _DIRECT.open(request, timeout=10) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        hint = "; send a key: --key or RAY_MLOPS_KEY" if error.code in (401, 403) else ""
        raise EndpointError(f"{url} answers {error.code}: {error.read().decode()[:500]}{hint}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EndpointError(f"{url} does not answer: {error}") from error


def _health(url: str) -> Mapping[str, Any]:
    try:
        with _DIRECT.open(f"{url}/health", timeout=_PROBE_S) as answer:
            found = json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException):  # nobody listens, or something that speaks no JSON
        return {}
    return found if isinstance(found, dict) else {}
