"""The guard over real HTTP: who is let in where, and what is said to the others."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from ray_mlops.serving import edge
from ray_mlops.serving.access import keys, opening
from ray_mlops.serving.access.guard import Guard
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.access.network import Network
from tests.serving.access.live import live

WRONG = "rmk_" + "0" * 12 + "_" + "a" * 43


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    keys.create(str(root), "first", ["score"])
    return root


@pytest.fixture(scope="module")
def ring(root: Path) -> Iterator[KeyRing]:
    ring = KeyRing(opening.access(str(root), Network())[0], every_s=3600)
    yield ring
    ring.close()


@pytest.fixture(scope="module")
def url(ring: KeyRing) -> Iterator[str]:
    app = FastAPI()
    edge.handle_errors(app)

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def echo(request: Request) -> Response:
        return edge.answer(200, {"bytes": len(await request.body())})

    app.add_middleware(Guard, ring=ring)
    with live(app) as url:
        yield url


@pytest.fixture
def key(root: Path, ring: KeyRing) -> Iterator[str]:
    """A key with scope `score`, gone after the test."""
    _, text = keys.create(str(root), "shop", ["score"])
    ring.refresh()
    yield text
    keys.revoke(str(root), "shop")


def problem(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/json"
    (found,) = answer.json()["error"]["problems"]
    assert found["field"] == "authorization" and found["message"] in answer.json()["error"]["message"]
    return found["message"]


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer {}"}, {"authorization": "bearer  {}"}, {"X-API-Key": "{}"}]
)
def test_a_key_opens_its_route_in_either_header(url: str, key: str, headers: dict[str, str]) -> None:
    sent = {name: text.format(key) for name, text in headers.items()}
    assert httpx.post(f"{url}/score", headers=sent, content=b"abc").json() == {"bytes": 3}


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "is missing: send `Authorization: Bearer KEY`"),
        ({"authorization": "Basic YTpi"}, "is missing"),
        ({"authorization": "Bearer"}, "holds no key of this endpoint"),
        ({"authorization": f"Bearer {WRONG}"}, "holds no key of this endpoint"),
        ({"x-api-key": WRONG}, "holds no key of this endpoint"),
        ({"x-api-key": ""}, "holds no key of this endpoint"),
        ({"x-api-key": "a" * 5000}, "holds no key of this endpoint"),
        ({"x-api-key": "../../access/keys.json"}, "holds no key of this endpoint"),
        ({"x-api-key": "rmk_%0d%0aset-cookie: a=b"}, "holds no key of this endpoint"),
        ({"x-api-key": "é".encode("latin-1")}, "holds no key of this endpoint"),
        ({"x-api-key": WRONG, "authorization": f"Bearer {WRONG}x"}, "holds more than one key"),
    ],
)
def test_without_a_key_of_the_endpoint_nobody_comes_in(url: str, headers: dict[str, str | bytes], told: str) -> None:
    raw = [(name.encode(), text.encode() if isinstance(text, str) else text) for name, text in headers.items()]
    answer = httpx.post(f"{url}/score", headers=raw, content=b"x" * 100_000)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert told in problem(answer)
    assert "set-cookie" not in answer.headers


def test_a_key_with_one_letter_changed_is_none(url: str, key: str) -> None:
    for place in (-1, len(key) // 2, 5):
        other = "b" if key[place] != "b" else "c"
        changed = key[:place] + other + (key[place + 1 :] if place != -1 else "")
        assert httpx.post(f"{url}/score", headers={"x-api-key": changed}).status_code == 401


@pytest.mark.parametrize(
    ("scope", "opened", "closed"),
    [
        ("score", ["/score", "/predict", "/invocations", "/model", "/openapi.json"], ["/labels", "/stats"]),
        ("label", ["/labels", "/model"], ["/score", "/stats", "/anything", "/labels/", "//labels"]),
        ("admin", ["/score", "/labels", "/stats", "/model"], []),
    ],
)
def test_a_scope_opens_what_it_is_for(
    url: str, root: Path, ring: KeyRing, scope: str, opened: list[str], closed: list[str]
) -> None:
    _, text = keys.create(str(root), f"of-{scope}", [scope])
    ring.refresh()
    for path in opened:
        assert httpx.post(url + path, headers={"x-api-key": text}).status_code == 200, path
    for path in closed:
        answer = httpx.post(url + path, headers={"x-api-key": text})
        assert answer.status_code == 403 and f"scope {scope}; {path} needs scope" in problem(answer)


@pytest.mark.parametrize("path", ["/health", "/ping"])
def test_load_balancers_need_no_key(url: str, path: str) -> None:
    assert httpx.get(url + path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/health/", "//health", "/health/../score", "/score/../health", "/%2e%2e/health", "/health%2f", "/HEALTH"]
)
def test_nothing_is_reached_by_way_of_an_open_route(url: str, path: str) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as raw:  # httpx would tidy it
        raw.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_rotated_key_overlaps_and_a_revoked_or_expired_one_is_named(url: str, root: Path, ring: KeyRing) -> None:
    def status(text: str) -> tuple[int, str]:
        ring.refresh()
        answer = httpx.post(f"{url}/score", headers={"x-api-key": text})
        return answer.status_code, problem(answer) if answer.status_code != 200 else ""

    old, first = keys.create(str(root), "turning", ["score"])
    _, second = keys.rotate(str(root), "turning")
    assert status(first) == status(second) == (200, "")
    keys.revoke(str(root), old.id)
    code, told = status(first)
    assert code == 401 and f"holds the key 'turning' ({old.id}), which is revoked" in told
    assert status(second) == (200, "")
    _, third = keys.rotate(str(root), "turning", overlap_hours=0)
    assert status(second)[0] == 401 and "which is expired" in status(second)[1] and status(third) == (200, "")


def test_above_its_rate_a_key_gets_429_and_when_to_come_back(url: str, root: Path, ring: KeyRing) -> None:
    _, text = keys.create(str(root), "slow", ["score"], rate=0.001)
    ring.refresh()
    assert httpx.post(f"{url}/score", headers={"x-api-key": text}).status_code == 200
    answer = httpx.post(f"{url}/score", headers={"x-api-key": text})
    assert answer.status_code == 429 and "'slow', which may ask 0.001 times a second" in problem(answer)
    assert 900 < int(answer.headers["retry-after"]) <= 1000
    # What a key may not do costs it nothing, and others go on.
    assert httpx.post(f"{url}/labels", headers={"x-api-key": text}).status_code == 403
    assert httpx.get(f"{url}/health", headers={"x-api-key": text}).status_code == 200


def test_clients_that_sign_for_someone_else_may_bring_a_key_beside_it(url: str, key: str) -> None:
    signed = {"authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/eu/sagemaker/aws4_request", "x-api-key": key}
    assert httpx.post(f"{url}/invocations", headers=signed).status_code == 200
