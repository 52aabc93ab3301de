"""The short way says what the long one says, byte for byte: answers, refusals, and what is logged of them."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.online import open_store
from ray_mlops.serving.access import keys, opening
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.app import build_app
from ray_mlops.serving.appender import Appender
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.direct import Direct
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.scoring import Scorer
from tests.serving import bad_requests as bad
from tests.small_model import TRANSACTIONS, bundle, example, transactions

GOOD = example(transactions())
LEAN = FeatureDefinition(data=TRANSACTIONS, inputs=("amount", "channel"), calendar=("weekday",))
LIMITS = Limits(max_body_bytes=100_000, max_transactions=5, reasons=0)
JSON = {"content-type": "application/json"}
Asked = tuple[str, str, dict[str, str], bytes]


class Site:
    """One application, with its logs in a folder."""

    def __init__(self, folder: Path, model: Predictor, *, short: bool, key: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        store = open_store(f"sqlite:///{folder}/entities.db", model.definition) if model.definition.windows else None
        self._capture = Capture(str(folder / "capture"), "v1")
        self._log = Appender(str(folder / "requests"), "v1")
        ring = None
        if key:
            self.key = keys.create(str(folder), "shop", [key])[1]
            ring = KeyRing(opening.access(str(folder), Network())[0], every_s=3600)
        scorer = Scorer(model, store, self._capture, version="1", digest="d")
        known: dict[str, Any] = {"name": "small", "version": "1", "digest": "d", "example": GOOD}
        self.app: FastAPI = build_app(scorer, known, LIMITS, health={"status": "ok"}, ring=ring, log=self._log)
        if not short:
            self.app.user_middleware = [one for one in self.app.user_middleware if one.cls is not Direct]

    def ask(self, asked: Sequence[Asked]) -> list[tuple[int, dict[str, str], bytes]]:
        """Status, headers and body of the answers, in order."""

        async def send() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return [
                    await client.request(method, path, headers=headers, content=body)
                    for method, path, headers, body in asked
                ]

        found = asyncio.run(send())
        return [
            (one.status_code, {k: v for k, v in one.headers.items() if k != "traceparent"}, one.content)
            for one in found
        ]

    def logged(self) -> tuple[list[Any], list[Any]]:
        """What is captured and what is written of the requests, without times and spans."""
        unlike = {"time", "ms", "trace_id", "span_id"}
        lines = []
        for log, path in ((self._capture, self._capture.path), (self._log, self._log.path)):
            log.close()
            read = [json.loads(line) for line in path.read_text().splitlines()]
            lines.append([{name: value for name, value in line.items() if name not in unlike} for line in read])
        return lines[0], lines[1]


def questions() -> Iterator[Asked]:
    good = json.dumps(GOOD).encode()
    bodies = [json.dumps({**GOOD, **change}).encode() for change, _, _ in bad.FIELDS]
    bodies += [*bad.NOT_JSON, *bad.TOO_DEEP, *(json.dumps(shape).encode() for shape in bad.SHAPES)]
    bodies += [good.replace(b'"amount": ', b'"amount": ' + word.encode() + b', "x": ') for word in bad.NOT_NUMBERS]
    bodies += [json.dumps({"transactions": [GOOD] * count}).encode() for count in (1, 5, 6)]
    bodies += [good, b" " * 100_001, json.dumps({**GOOD, "note": "\u00e9\ud83d\ude00"}).encode()]
    for number, body in enumerate(bodies):
        yield "POST", "/score", {**JSON, "x-request-id": f"body-{number}"}, body
    for number, (headers, _) in enumerate(bad.KINDS):
        yield "POST", "/score", {**headers, "x-request-id": f"kind-{number}"}, good
    for number, count in enumerate([*bad.REASONS, "0", "2", "20"]):
        yield "POST", f"/score?reasons={count}", {**JSON, "x-request-id": f"reasons-{number}"}, good
    for method in bad.METHODS:
        yield method, "/score", {**JSON, "x-request-id": method}, good
    for number, path in enumerate([*bad.PATHS, "/score/", "/invocations", "/model", "/health"]):
        yield "POST", path, {**JSON, "x-request-id": f"path-{number}"}, good


@pytest.fixture(scope="module", params=["windows", "lean"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("model")
    return Predictor.load(bundle(folder, definition=LEAN) if request.param == "lean" else bundle(folder))


def test_both_ways_answer_refuse_and_log_the_same(model: Predictor, tmp_path: Path) -> None:
    asked = list(questions())
    short, long = (Site(tmp_path / str(way), model, short=way) for way in (True, False))
    for question, one, other in zip(asked, short.ask(asked), long.ask(asked), strict=True):
        assert one == other, question
    assert short.logged() == long.logged()


def test_the_guard_is_before_both(model: Predictor, tmp_path: Path) -> None:
    good = json.dumps(GOOD).encode()
    for scope, status in (("score", 200), ("label", 403)):
        for way in (True, False):
            site = Site(tmp_path / f"{scope}{way}", model, short=way, key=scope)
            keyed = {**JSON, "x-api-key": site.key}
            found = site.ask([("POST", "/score", JSON, good), ("POST", "/score", keyed, good)])
            assert [one[0] for one in found] == [401, status]


def test_quick_answers_are_those_of_the_thread(tmp_path: Path) -> None:
    quick = Predictor.load(bundle(tmp_path / "model", definition=LEAN))
    assert quick.quick_rows > 0
    sent = [
        ("POST", path, {**JSON, "x-request-id": str(place)}, json.dumps(example(transactions(), place)).encode())
        for place in range(20)
        for path in ("/score?reasons=0", "/score?reasons=1")
    ]
    answers = [json.loads(body) for _, _, body in Site(tmp_path / "site", quick, short=True).ask(sent)]
    for here, elsewhere in zip(answers[::2], answers[1::2], strict=True):
        assert {**here, "reasons": []} == {**elsewhere, "reasons": []}
