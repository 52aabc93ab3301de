"""What surrounds every application: ids, traces, one line of log a request, and a bound on how many come in."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ray_mlops.errors import StorageError
from ray_mlops.serving import edge
from ray_mlops.serving.access import keys, opening
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.appender import Appender
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.layers import surround
from ray_mlops.serving.limits import Limits
from tests.serving.access.live import live, wait_for

CARD = "4111111111111111"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Site:
    """An application with all layers, that fails on demand and holds requests until they are let go."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.go = folder, threading.Event()
        self.key = keys.create(str(folder), "shop", ["score"])[1]
        self.capture = Capture(str(folder / "capture"), "v1")
        self.log = Appender(str(folder / "requests"), "v1")
        self.ring = KeyRing(opening.access(str(folder), Network())[0], every_s=3600)
        self.app = FastAPI()
        self._routes()
        edge.handle_errors(self.app)
        surround(self.app, Limits(max_ongoing=4), self.capture, ring=self.ring, log=self.log)

    def _routes(self) -> None:
        @self.app.post("/echo/{name}")
        async def echo(request: Request, name: str) -> Response:
            return edge.answer(200, {"request_id": edge.request_id(request)})

        @self.app.post("/fail")
        async def fail(request: Request) -> Response:
            raise ValueError(f"cannot read {(await request.body()).decode()} of {request.headers!r}")

        @self.app.post("/gone")
        async def gone(request: Request) -> Response:
            raise StorageError("the disk is gone")

        @self.app.post("/half")
        async def half(request: Request) -> Response:
            async def parts() -> Any:
                yield b"half"
                raise ValueError(f"no more for {CARD}")

            return StreamingResponse(parts())

        @self.app.get("/health")
        async def health() -> Response:
            return edge.answer(200, {})

        @self.app.post("/hold")
        def hold() -> Response:
            self.go.wait(60)
            return edge.answer(200, {})

    def lines(self) -> list[dict[str, Any]]:
        assert self.log.flush()
        return [json.loads(line) for line in self.log.path.read_text().splitlines()]

    def line(self, request_id: str) -> dict[str, Any]:
        wait_for(lambda: any(line["request_id"] == request_id for line in self.lines()))
        (found,) = [line for line in self.lines() if line["request_id"] == request_id]
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.ring.close()
    made.log.close()
    made.capture.close()


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[httpx.Client]:
    with live(site.app) as url, httpx.Client(base_url=url, headers={"x-api-key": site.key}, timeout=30) as client:
        yield client


def test_a_line_tells_when_what_and_who_and_nothing_of_what_was_sent(client: httpx.Client, site: Site) -> None:
    headers = {"x-request-id": "r-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    answer = client.post(f"/echo/{CARD}?card={CARD}", headers=headers, json={"card": CARD})
    assert answer.json()["request_id"] == "r-1" and answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    line = site.line("r-1")
    assert line.keys() == {
        "time", "request_id", "trace_id", "span_id", "parent_id", "method", "route", "status", "ms", "key",
    }  # fmt: skip
    assert (line["trace_id"], line["parent_id"]) == (TRACE, "00f067aa0ba902b7")
    assert line["span_id"] == answer.headers["traceparent"].split("-")[2]
    assert (line["method"], line["route"], line["status"], line["key"]) == ("POST", "/echo/{name}", 200, "shop")
    assert line["ms"] > 0 and line["time"].endswith("Z")


def test_an_id_is_made_where_none_or_a_forged_one_came(client: httpx.Client, site: Site) -> None:
    made = client.post("/echo/a")
    assert (
        made.headers["x-request-id"] == made.json()["request_id"] == site.line(made.json()["request_id"])["request_id"]
    )
    forged = client.post("/echo/a", headers={"x-request-id": 'x", "status": 200, "a": "'}).json()["request_id"]
    assert len(forged) == 32 and site.line(forged)["route"] == "/echo/{name}"
    other = Site(site.folder / "other")
    with live(other.app) as url:
        answer = httpx.post(f"{url}/echo/a", headers={"x-api-key": other.key})
        assert answer.headers["traceparent"].split("-")[1] == other.line(answer.json()["request_id"])["trace_id"]
    other.log.close()


def test_refusals_and_failures_are_logged_with_their_status(client: httpx.Client, site: Site) -> None:
    for number, (path, headers, status, route) in enumerate(
        [
            ("/nothing/" + CARD, {}, 404, None),
            ("/echo/a", {"x-api-key": "wrong"}, 401, None),
            ("/gone", {}, 503, "/gone"),
            ("/fail", {}, 500, "/fail"),
        ]
    ):
        answer = client.post(path, headers={**headers, "x-request-id": f"f-{number}"})
        assert answer.status_code == status and "traceparent" in answer.headers
        line = site.line(f"f-{number}")
        assert (line["status"], line["route"]) == (status, route)
        assert line["key"] == (None if status == 401 else "shop")


def test_what_nobody_caught_is_told_to_the_log_only_and_redacted(
    client: httpx.Client, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.post("/fail", content=CARD, headers={"x-request-id": "fails"})
    assert answer.status_code == 500 and answer.headers["content-type"] == "application/json"
    assert "under the request id fails" in answer.json()["error"]["message"] and CARD not in answer.text
    error = site.line("fails")["error"]
    assert "ValueError: cannot read ************1111 of" in error and "test_layers.py" in error
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/half", headers={"x-request-id": "breaks"})
    assert site.line("breaks")["error"].endswith("ValueError: no more for ************1111\n")
    kept = site.log.path.read_text() + caplog.text
    assert CARD not in kept and site.key not in kept and site.key.split("_", 2)[2] not in kept


def test_more_than_a_replica_takes_is_refused_at_once_but_health_is_told(client: httpx.Client, site: Site) -> None:
    with ThreadPoolExecutor(4) as threads:
        held = [threads.submit(client.post, "/hold") for _ in range(4)]
        wait_for(lambda: client.post("/echo/a").status_code == 503)
        refused = client.post("/echo/a")
        assert refused.headers["retry-after"] == "1" and "answering 4 requests" in refused.json()["error"]["message"]
        assert client.get("/health").status_code == 200
        site.go.set()
        assert [each.result().status_code for each in held] == [200] * 4
    assert client.post("/echo/a").status_code == 200


def test_a_request_that_was_broken_off_is_logged_as_such(client: httpx.Client, site: Site) -> None:
    site.go.clear()
    with pytest.raises(httpx.ReadTimeout):
        client.post("/hold", headers={"x-request-id": "left"}, timeout=0.2)
    site.go.set()
    assert site.line("left")["status"] in (200, 499)
