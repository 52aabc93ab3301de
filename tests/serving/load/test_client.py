"""The process from which load comes, against a real server."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ray_mlops.errors import EndpointError
from ray_mlops.serving.load.client import Target
from ray_mlops.serving.load.process import Load
from tests.serving.access.live import live


class Server:
    """Answers with what `answer` says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.status, self.content, self.pause_s = 200, b"{}", 0.0
        self.headers: dict[bytes, bytes] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while (message := await receive()).get("more_body") or message["body"]:
            body += message["body"]
            if not message.get("more_body"):
                break
        self.headers = dict(scope["headers"])
        self.seen.append(json.loads(body))
        await asyncio.sleep(self.pause_s)
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.content})


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    with live(server) as url:
        yield url


def test_rows_are_sent_in_turn_each_with_an_id_of_its_own(server: Server, url: str) -> None:
    rows = ({"id": 1, "amount": 5.0}, {"id": 2, "amount": 6.0})
    with Load(Target(url=url, rows=rows, key="id", first_key=100, headers={"x-api-key": "k"}), 0.5) as load:
        step = load.measure(200.0)
        load.measure(200.0)
    assert step.sent == 200 and not step.errors and step.p99_ms and not step.cut_short
    assert sorted(one["id"] for one in server.seen) == list(range(100, 100 + len(server.seen)))
    assert {one["amount"] for one in server.seen} == {5.0, 6.0} and server.headers[b"x-api-key"] == b"k"


def test_latency_counts_from_the_moment_at_which_a_request_was_due(server: Server, url: str) -> None:
    server.pause_s = 0.2
    # One connection answers 5 requests a second: whoever comes later waits for those before.
    with Load(Target(url=url, rows=({"id": 1},), connections=1), 0.2) as load:
        step = load.measure(25.0)
    assert step.sent == 15 and step.max_ms and step.max_ms > 1000


@pytest.mark.parametrize(
    ("status", "content", "error"), [(503, b"{}", "status 503"), (200, b'{"score": 1, "degraded": "rule"}', "degraded")]
)
def test_what_the_model_did_not_answer_is_an_error(
    server: Server, url: str, status: int, content: bytes, error: str
) -> None:
    server.status, server.content = status, content
    with Load(Target(url=url, rows=({"id": 1},)), 0.2) as load:
        step = load.measure(50.0)
    assert step.errors == {error: step.sent} and step.p99_ms is None and not step.holds(1000, 0.5)


def test_who_does_not_answer_in_time_or_at_all_is_an_error(server: Server, url: str) -> None:
    server.pause_s = 5.0
    with Load(Target(url=url, rows=({"id": 1},), timeout_s=0.3), 0.1) as load:
        assert list(load.measure(20.0).errors) == ["no answer within 0.3 s"]
    with Load(Target(url="http://127.0.0.1:9", rows=({"id": 1},)), 0.1) as load:
        assert list(load.measure(20.0).errors) == ["ClientConnectorError"]


def test_a_step_whose_requests_pile_up_is_cut_short(server: Server, url: str) -> None:
    server.pause_s = 5.0
    with Load(Target(url=url, rows=({"id": 1},), connections=4), 2.0) as load:
        step = load.measure(20.0)
    assert step.cut_short and step.sent == 21


def test_a_client_that_dies_is_an_error_of_ours(url: str) -> None:
    with Load(Target(url=url), 0.1) as load:
        load._process.kill()
        with pytest.raises(EndpointError, match="has died"):
            load.measure(1.0)
