"""The endpoint over real HTTP, in front of real replicas: right answers to good requests, a 4xx to every bad one."""

import json
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
from schemathesis import GenerationMode

from ray_mlops.contract import Endpoint
from ray_mlops.fraud.predictor import ACTIONS, Predictor
from ray_mlops.platform import runtime
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.probe import is_live
from ray_mlops.serving.replica import Settings
from tests import priorities
from tests.serving import bad_requests, made_up
from tests.small_model import bundle, example, transactions

LIMITS = Limits(max_body_bytes=100_000, max_transactions=50, body_s=2.0)
GOOD = example(transactions())
JSON = {"content-type": "application/json"}


def settings(made: Bundle, root: Path, name: str = "small", version: str = "1") -> Settings:
    return Settings(
        name=name,
        bundle=made.uri,
        digest=made.digest,
        version=version,
        store=f"sqlite:///{root}/entities.db",
        capture=f"{root}/capture",
        limits=LIMITS,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("endpoint")


@pytest.fixture(scope="module")
def served(root: Path) -> Bundle:
    return bundle(root)


@pytest.fixture(scope="module")
def url(ray_session: None, served: Bundle, root: Path) -> Iterator[str]:
    yield endpoints.start(settings(served, root), Scale(max_replicas=1), port=free_port())
    endpoints.undeploy("small")


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as session:
        yield session


def captured(root: Path) -> list[dict[str, Any]]:
    files = sorted((root / "capture").glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def still_answers(client: httpx.Client) -> bool:
    return client.post("/score", json=GOOD).status_code == 200


def refused(answer: httpx.Response, status: int) -> dict[str, str]:
    """The problems by field of an answer with this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    problems = answer.json()["error"]["problems"]
    assert answer.json()["error"]["message"] and problems
    return {problem["field"]: problem["message"] for problem in problems}


def test_one_transaction_gets_score_probability_decision_reasons_and_version(
    client: httpx.Client, served: Bundle
) -> None:
    answer = client.post("/score", json=GOOD).json()
    assert answer["id"] == GOOD["transaction_id"]
    assert 0 <= answer["score"] <= 1 and 0 <= answer["probability"] <= 1
    assert answer["decision"] in ACTIONS
    assert [set(reason) for reason in answer["reasons"]] == [{"feature", "value", "contribution", "text"}] * 3
    assert (answer["model"], answer["version"], answer["digest"]) == ("small", "1", served.digest)


def test_a_large_amount_is_blocked_and_the_reason_says_so(client: httpx.Client) -> None:
    answer = client.post("/score", json={**GOOD, "transaction_id": 900_001, "amount": 900.0}).json()
    assert answer["decision"] == "block"
    assert answer["reasons"][0]["text"] == "amount is 900, which raises the risk"


def test_a_batch_is_answered_in_its_order(client: httpx.Client) -> None:
    batch = [{**GOOD, "transaction_id": 910_000 + number, "amount": float(number)} for number in range(50)]
    answer = client.post("/score?reasons=0", json={"transactions": batch}).json()
    assert [result["id"] for result in answer["results"]] == [sent["transaction_id"] for sent in batch]
    assert all(result["reasons"] == [] for result in answer["results"])
    assert answer["version"] == "1"


def test_the_windows_of_a_customer_fill_up_with_what_was_scored(client: httpx.Client, root: Path) -> None:
    sent = {**GOOD, "customer_id": 777_777, "time": "2026-02-01T12:00:00Z"}
    for number in range(3):
        client.post("/score", json={**sent, "transaction_id": 920_000 + number, "amount": 10.0 * (number + 1)})
    lines = [line for line in captured(root) if line["inputs"]["customer_id"] == 777_777]
    assert [line["features"]["customer_id_count_1d"] for line in lines] == [1, 2, 3]
    assert [line["features"]["customer_id_mean_amount_1d"] for line in lines] == [10, 15, 20]


def test_a_retried_transaction_gets_the_same_answer(client: httpx.Client) -> None:
    sent = {**GOOD, "transaction_id": 930_000, "customer_id": 888_888}
    first, second = client.post("/score", json=sent).json(), client.post("/score", json=sent).json()
    assert {**first, "request_id": ""} == {**second, "request_id": ""}


def test_the_answers_are_those_of_the_predictor_on_the_captured_features(
    client: httpx.Client, root: Path, served: Bundle
) -> None:
    predictor = Predictor.load(served)
    client.post("/score", json=GOOD)
    for line in captured(root):
        row = np.array([[line["features"][name] for name in predictor.definition.names]], np.float32)
        assert predictor.score(row).score[0] == pytest.approx(line["score"], rel=1e-6)


def test_every_answer_is_in_the_capture_log_with_its_request_id(client: httpx.Client, root: Path) -> None:
    sent = {**GOOD, "transaction_id": 935_000, "terminal_id": None}
    answer = client.post("/score", json=sent, headers={"x-request-id": "trace-1"})
    assert answer.json()["request_id"] == "trace-1" == answer.headers["x-request-id"]
    (line,) = [line for line in captured(root) if line["request_id"] == "trace-1"]
    assert line.keys() == {
        "id", "time", "request_id", "inputs", "features", "score", "probability", "decision", "version", "digest",
    }  # fmt: skip
    assert line["score"] == answer.json()["score"] and line["inputs"]["amount"] == GOOD["amount"]
    assert line["features"]["terminal_id_mean_is_fraud_7d"] is None


def test_a_request_id_that_could_forge_a_log_line_is_replaced(client: httpx.Client) -> None:
    answer = client.post("/score", json=GOOD, headers={"x-request-id": 'a" b'}).json()
    assert re.fullmatch("[0-9a-f]{32}", answer["request_id"])


def test_a_score_does_not_go_through_serve_all_else_does(client: httpx.Client) -> None:
    hurried = {"x-request-timeout-seconds": "0.000001"}  # Serve heeds it
    there = 200 if runtime.ingress_folder() else 408
    assert client.post("/score", json=GOOD, headers=hurried).status_code == there
    assert client.get("/stats", headers=hurried).status_code == 408
    assert client.get("/model").headers.get_list("x-request-id")[1:] == []
    assert client.post("/score", json=GOOD).headers.get_list("x-request-id")[1:] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise a priority")
def test_who_answers_and_serve_itself_are_not_behind_all_else(client: httpx.Client) -> None:
    assert still_answers(client)
    ours = {"ray::ServeReplica", "ray::ServeController", "ray::ProxyActor"}
    ours |= {"ray::HAProxyManager"} if runtime.ingress_folder() else set()
    assert priorities.behind(f"RAY_MLOPS_HOME={os.environ['RAY_MLOPS_HOME']}", *ours) == {}


def test_replicas_listen_on_ports_that_are_the_clusters_own(client: httpx.Client) -> None:
    assert still_answers(client)
    folder = runtime.ingress_folder()
    if folder is None:
        pytest.skip("there is no HAProxy here")
    written = "".join(path.read_text() for path in folder.rglob("haproxy.cfg"))
    ports = {int(found) for found in re.findall(r"^ *server \S+ 127\.0\.0\.1:(\d+)", written, re.MULTILINE)}
    own = {port for port in ports if 30_000 < port < 39_900}
    assert own
    for port in own:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port - port % 300))


def test_many_callers_at_once(client: httpx.Client) -> None:
    def call(number: int) -> int:
        sent = {**GOOD, "transaction_id": 940_000 + number, "customer_id": number % 7}
        return client.post("/score", json=sent).status_code

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(call, range(100))) == {200}


def test_health_and_model_tell_what_is_served(client: httpx.Client, served: Bundle, url: str, root: Path) -> None:
    health, model = client.get("/health").json(), client.get("/model").json()
    assert health["status"] == "ok" and health["digest"] == served.digest == model["digest"]
    assert model["algorithm"]["kind"] == "xgboost" and model["key"] == "transaction_id"
    assert client.post("/score", json=model["example"]).status_code == 200
    alive = Endpoint(
        uri="", fingerprint="", name="small", url=url, version="1", digest=served.digest, capture=f"{root}/capture"
    )
    assert is_live(alive)
    assert not is_live(alive.model_copy(update={"digest": "another"}))
    assert not is_live(alive.model_copy(update={"capture": "/another/root"}))
    assert not is_live(alive.model_copy(update={"url": f"http://127.0.0.1:{free_port()}/small"}))


def test_the_documents_work_without_a_network(client: httpx.Client) -> None:
    page = client.get("/docs").text
    referred = re.findall(r"(?:href|src)=\"([^\"]+)\"", page)
    assert len(referred) == 3
    for address in referred:
        assert re.match(r"[a-z-]+/", address), f"{address} is not served by the endpoint itself"
        assert client.get(address).status_code == 200
    body = client.get("/openapi.json").json()["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"]["one"]["value"] == GOOD
    assert client.post("/score", json=body["examples"]["batch"]["value"]).status_code == 200


@pytest.mark.parametrize(("change", "field", "message"), bad_requests.FIELDS)
def test_a_bad_field_is_named(client: httpx.Client, change: dict[str, Any], field: str, message: str) -> None:
    assert message in refused(client.post("/score", json={**GOOD, **change}), 422)[field]
    batch = {"transactions": [GOOD, {**GOOD, **change}]}
    assert message in refused(client.post("/score", json=batch), 422)[f"transactions.1.{field}"]


@pytest.mark.parametrize("name", ["transaction_id", "time", "customer_id", "amount", "channel"])
def test_a_missing_field_is_named(client: httpx.Client, name: str) -> None:
    body = {key: value for key, value in GOOD.items() if key != name}
    assert refused(client.post("/score", json=body), 422) == {name: "is missing"}


@pytest.mark.parametrize("number", bad_requests.NOT_NUMBERS)
def test_what_is_no_number_is_refused(client: httpx.Client, number: str) -> None:
    body = json.dumps({**GOOD, "amount": 0.125}).replace("0.125", number)
    assert refused(client.post("/score", content=body, headers=JSON), 422) == {"amount": "should be a finite number"}


@pytest.mark.parametrize("body", bad_requests.NOT_JSON)
def test_what_is_not_json_is_refused(client: httpx.Client, body: bytes) -> None:
    told = refused(client.post("/score", content=body, headers=JSON), 400)[""]
    assert ("nests deeper" if len(body) > 1000 else "not JSON") in told
    assert still_answers(client)


@pytest.mark.parametrize("body", bad_requests.TOO_DEEP)
def test_what_nests_too_deep_is_refused(client: httpx.Client, body: bytes) -> None:
    assert "32 levels" in refused(client.post("/score", content=body, headers=JSON), 400)[""]
    assert still_answers(client)


@pytest.mark.parametrize("body", bad_requests.SHAPES)
def test_another_shape_is_refused(client: httpx.Client, body: Any) -> None:
    refused(client.post("/score", content=json.dumps(body), headers=JSON), 422)


@pytest.mark.parametrize(("headers", "field"), bad_requests.KINDS)
def test_another_kind_of_body_is_refused(client: httpx.Client, headers: dict[str, str], field: str) -> None:
    assert field in refused(client.post("/score", content=json.dumps(GOOD), headers=headers), 415)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json"])
def test_json_by_its_other_names_is_taken(client: httpx.Client, kind: str) -> None:
    assert client.post("/score", content=json.dumps(GOOD), headers={"content-type": kind}).status_code == 200


@pytest.mark.parametrize("reasons", bad_requests.REASONS)
def test_a_bad_number_of_reasons_is_named(client: httpx.Client, reasons: str) -> None:
    assert "from 0 to 20" in refused(client.post(f"/score?reasons={reasons}", json=GOOD), 422)["reasons"]


def test_too_many_transactions_and_too_large_bodies_are_refused(client: httpx.Client) -> None:
    assert "at most 50" in refused(client.post("/score", json={"transactions": [GOOD] * 51}), 413)["transactions"]
    large = json.dumps({**GOOD, "note": "x" * 200_000})
    assert "100,000 bytes" in refused(client.post("/score", content=large, headers=JSON), 413)[""]
    pieces = (b" " * 10_000 for _ in range(100))
    assert "100,000 bytes" in refused(client.post("/score", content=pieces, headers=JSON), 413)[""]
    assert still_answers(client)


@pytest.mark.parametrize("method", bad_requests.METHODS)
def test_another_method_is_refused(client: httpx.Client, method: str) -> None:
    assert "Method Not Allowed" in refused(client.request(method, "/score"), 405)[""]


@pytest.mark.parametrize("path", bad_requests.PATHS)
def test_another_path_is_not_found(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    return socket.create_connection((host, int(port)), timeout=20)


@pytest.mark.parametrize("name", bad_requests.RAW)
def test_broken_http_gets_an_answer_too(url: str, client: httpx.Client, name: str) -> None:
    sent, status = bad_requests.RAW[name]
    with connect(url) as connection:
        connection.sendall(sent.encode("latin-1"))
        assert connection.recv(65_536).split(b" ")[1] == str(status).encode()
    assert still_answers(client)


def test_a_caller_who_hangs_up_harms_nobody(url: str, client: httpx.Client) -> None:
    for _ in range(20):
        with connect(url) as connection:
            connection.sendall((bad_requests.HEAD + "content-length: 500\r\n\r\n{").encode())
    assert still_answers(client)


@pytest.mark.parametrize("mode", made_up.MODES)
def test_requests_made_up_from_the_document_get_the_documented_answers(url: str, mode: GenerationMode) -> None:
    bodies = made_up.ask(schemathesis.openapi.from_url(f"{url}/openapi.json"), mode)
    assert {"/score", "/labels", "/invocations"} < set(bodies) and all(bodies.values())
