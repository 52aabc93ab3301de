import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ray_mlops.monitoring import sinks
from ray_mlops.monitoring.alarms import Alarm
from ray_mlops.monitoring.history import Judged
from ray_mlops.monitoring.sinks import Webhook

ABOUT = {"endpoint": "fraud", "version": "3", "digest": "d" * 64}
NOW = 1_000.0


class Receiver(HTTPServer):
    """Takes what is posted to it, while it answers 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.taken = 200, []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/alarms"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.status == 200:
            self.server.taken.append((self.headers["idempotency-key"], json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def judged(number: int, *keys: str) -> Judged:
    alarms = tuple(Alarm(key=key, windows=2, of=3, chance=1e-6, words="moved") for key in keys)
    start = number * 60
    return Judged(number=number, start=start, end=start + 60, files=(), counts=[9], total=[9], alarms=alarms)


def events(*windows: tuple[str, ...]) -> list[dict[str, Any]]:
    return sinks.events([judged(number, *keys) for number, keys in enumerate(windows, start=1)], ABOUT)


def test_only_what_changes_is_an_event():
    first, second, third = events((), ("a",), ("a",), ("a", "b"), (), ())
    assert (first["window"]["number"], len(first["raised"]), first["ended"]) == (2, 1, [])
    assert second["raised"] == ["b: moved; in 2 of 3 windows, by chance 1e-06"] and len(second["alarms"]) == 2
    assert (third["window"]["number"], third["raised"], third["ended"]) == (5, [], ["a", "b"])


def test_a_webhook_is_told_of_each_event_once(receiver: Receiver, tmp_path: Path):
    found = events(("a",), (), ("b",))
    for _ in range(2):
        assert Webhook(receiver.url, str(tmp_path)).tell(found, NOW) == 0
    assert [key for key, _ in receiver.taken] == [f"{'d' * 16}-{number}" for number in (1, 2, 3)]
    assert receiver.taken[0][1]["raised"] and receiver.taken[1][1]["ended"] == ["a"]
    assert receiver.taken[0][1]["endpoint"] == "fraud"


def test_what_a_receiver_does_not_take_is_told_again_in_order(receiver: Receiver, tmp_path: Path):
    receiver.status = 503
    assert Webhook(receiver.url, str(tmp_path)).tell(events(("a",), ()), NOW) == 2
    assert Webhook("http://127.0.0.1:9/", str(tmp_path)).tell(events(("a",), ()), NOW) == 2
    receiver.status = 200
    assert Webhook(receiver.url, str(tmp_path)).tell(events(("a",), (), ("b",)), NOW) == 0
    assert [event["window"]["number"] for _, event in receiver.taken] == [1, 2, 3]


def test_yesterdays_alarms_are_no_news(receiver: Receiver, tmp_path: Path):
    assert Webhook(receiver.url, str(tmp_path)).tell(events(("a",)), NOW + sinks.AGAIN_S) == 0
    assert not receiver.taken


def test_the_log_has_a_line_an_alarm(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "ray_mlops.alarms"):
        for event in events(("a",), ()):
            sinks.log(event)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "endpoint fraud, version 3, window 1: a: moved" in caplog.text
