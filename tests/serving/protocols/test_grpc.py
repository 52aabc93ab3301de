"""The Open Inference Protocol over gRPC, asked by Triton's own client through a door to a real server."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, service_pb2
from tritonclient.utils import InferenceServerException

from ray_mlops.errors import EndpointError
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving.access import keys, opening
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.protocols import grpc_door
from tests.serving.access.live import live
from tests.serving.access.test_network import self_signed
from tests.serving.protocols import served
from tests.serving.protocols.questions import COLUMNS, TYPES, WHITE, WHITE_PIXELS, values


@contextmanager
def opened(url: str, network: Network) -> Iterator[Network]:
    """A door to the endpoints at `url`, where it listens, on a loop of its own."""
    network = network.model_copy(update={"grpc_port": network.grpc_port or free_port()})
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    async def start() -> Any:
        door = grpc_door.Door(url)
        return door, await grpc_door.start(door, network)

    try:
        door, server = wait(start())
        yield network
        wait(server.stop(1))
        wait(door.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)


@contextmanager
def asking(url: str) -> Iterator[InferenceServerClient]:
    """A client of a door to the endpoints at `url`."""
    with opened(url, Network()) as network, InferenceServerClient(f"127.0.0.1:{network.grpc_port}") as client:
        yield client


@pytest.fixture(scope="module")
def door(address: str) -> Iterator[str]:
    with opened(address, Network()) as network:
        yield f"127.0.0.1:{network.grpc_port}"


@pytest.fixture
def client(door: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(door) as client:
        yield client


def tensor(name: str, kind: str, array: np.ndarray) -> InferInput:
    return InferInput(name, list(array.shape), kind).set_data_from_numpy(array)


def columns(**other: np.ndarray) -> list[InferInput]:
    return [tensor(name, TYPES[name], array) for name, array in ({n: values(n) for n in COLUMNS} | other).items()]


def texts(array: Any) -> list[str]:
    return [one.decode() for one in array.ravel().tolist()]


def same(answer: Any, native: list[dict]) -> bool:
    found = [answer.as_numpy(name).tolist() for name in ("id", "score", "probability")]
    found.append(texts(answer.as_numpy("decision")))
    return list(zip(*found, strict=True)) == [
        (one["id"], one["score"], one["probability"], one["decision"]) for one in native
    ]


def refused(work: Any, status: str, words: str) -> None:
    with pytest.raises(InferenceServerException) as told:
        work()
    assert told.value.status() == f"StatusCode.{status}" and words in told.value.message(), told.value


def test_the_server_is_alive_and_says_what_it_is(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.get_server_metadata().version == metadata.version("ray-mlops")


def test_the_server_is_as_ready_as_the_one_behind_the_door() -> None:
    ready = [200, 503]

    async def healthz(request: Request) -> PlainTextResponse:
        return PlainTextResponse("", ready.pop(0))

    with live(Starlette(routes=[Route("/-/healthz", healthz)])) as url, asking(url) as client:
        assert [client.is_server_ready(), client.is_server_ready()] == [True, False]


def test_a_door_to_nowhere_is_alive_and_not_ready() -> None:
    with asking(f"http://127.0.0.1:{free_port()}") as client:
        assert client.is_server_live() and not client.is_server_ready()
        refused(lambda: client.infer("small", columns()), "UNAVAILABLE", "the server does not answer")


def test_the_model_is_ready_and_says_what_it_takes(client: InferenceServerClient) -> None:
    assert client.is_model_ready("small") and client.is_model_ready("small", "1")
    assert not client.is_model_ready("other") and not client.is_model_ready("small", "2")
    told = client.get_model_metadata("small", "1")
    assert {one.name: one.datatype for one in told.inputs} == TYPES and list(told.versions) == ["1"]
    assert [one.name for one in told.outputs] == ["id", "score", "probability", "decision"]
    assert all(list(one.shape) == [-1] for one in (*told.inputs, *told.outputs))


def test_infer_gives_the_numbers_of_the_native_route(client: InferenceServerClient, native: list[dict]) -> None:
    answer = client.infer("small", columns(), model_version="1", request_id="order-7")
    assert same(answer, native)
    told = answer.get_response()
    assert (told.id, told.model_name, told.model_version) == ("order-7", "small", "1")


def test_only_what_is_asked_for_comes(client: InferenceServerClient) -> None:
    answer = client.infer("small", columns(), outputs=[InferRequestedOutput("score")])
    assert [one.name for one in answer.get_response().outputs] == ["score"]


CONTENTS = {"INT64": "int64_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents"}


def message(**other: tuple[str, str, Any]) -> Any:
    """A request whose values are typed, as clients other than Triton's send them."""
    request = service_pb2.ModelInferRequest(model_name="small")
    given = {name: (TYPES[name], CONTENTS[TYPES[name]], values(name).tolist()) for name in COLUMNS}
    for name, (kind, field, listed) in {**given, **other}.items():
        listed = [one.encode() if isinstance(one, str) else one for one in listed]
        contents = service_pb2.InferTensorContents(**{field: listed})
        request.inputs.add(name=name, datatype=kind, shape=[len(listed)], contents=contents)
    return request


def test_typed_contents_are_read_as_well(client: InferenceServerClient, native: list[dict]) -> None:
    answer = client._client_stub.ModelInfer(
        message(customer_id=("INT32", "int_contents", values("customer_id").tolist()))
    )
    scores = np.frombuffer(answer.raw_output_contents[1], np.float64)
    assert scores.tolist() == [one["score"] for one in native]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"amount": ("INT8", "int_contents", [1, 2, 300])}, "values of INT8"),
        ({"amount": ("FP64", "fp32_contents", [1, 2, 3])}, "has 0 bytes"),
        ({"amount": ("FP8", "fp32_contents", [1, 2, 3])}, "known are BYTES"),
        ({"amount": ("FP64", "fp64_contents", [1, 2])}, "differ in length"),
    ],
)
def test_contents_that_are_not_of_their_datatype_are_refused(
    client: InferenceServerClient, other: dict[str, Any], words: str
) -> None:
    with pytest.raises(Exception, match=words):
        client._client_stub.ModelInfer(message(**other))


def test_raw_contents_are_for_all_inputs_or_none(client: InferenceServerClient) -> None:
    request = message()
    request.raw_input_contents.append(b"12345678")
    with pytest.raises(Exception, match="raw_input_contents has 1 of 7 inputs"):
        client._client_stub.ModelInfer(request)


def test_a_picture_gets_the_answer_of_the_native_route(client: InferenceServerClient, address: str) -> None:
    native = httpx.post(f"{address}/shades/predict", content=WHITE, params={"top": 3}).json()
    pixels = np.repeat(WHITE_PIXELS, 3, axis=2)[None]
    for given in (tensor("image", "BYTES", np.array([WHITE], object)), tensor("image", "UINT8", pixels)):
        answer = client.infer("shades", [given])
        assert texts(answer.as_numpy("class")) == [native["class"]]
        found = dict(zip(served.CLASSES, answer.as_numpy("probabilities")[0].tolist(), strict=True))
        assert found == {one["class"]: one["probability"] for one in native["top"]}


def test_bad_requests_are_errors_of_grpc(client: InferenceServerClient) -> None:
    refused(lambda: client.infer("small", columns(amount=-values("amount"))), "INVALID_ARGUMENT", "rows.0.amount")
    refused(lambda: client.infer("small", columns(), model_version="2"), "NOT_FOUND", "the model small, version 1")
    refused(lambda: client.get_model_metadata("other"), "NOT_FOUND", "no endpoint has that name")
    wanted = [InferRequestedOutput("score", class_count=2)]
    refused(lambda: client.infer("small", columns(), outputs=wanted), "INVALID_ARGUMENT", "classification")
    large = columns(note=np.array([b"x" * 200_000, b"", b""], object))
    refused(lambda: client.infer("small", large), "INVALID_ARGUMENT", "100,000 bytes")
    refused(lambda: client.get_model_config("small"), "UNIMPLEMENTED", "")


@pytest.mark.parametrize("name", ["../shades", "small/score", "small?x=1", "", "a" * 64, "small#", "%2e%2e"])
def test_no_name_of_a_model_is_a_way_to_another_path(client: InferenceServerClient, name: str) -> None:
    refused(lambda: client.infer(name, columns()), "NOT_FOUND", "no endpoint has that name")
    assert not client.is_model_ready("small", name or "x")


def test_a_message_that_no_endpoint_would_take_is_not_read(client: InferenceServerClient) -> None:
    large = columns(note=np.array([b"x" * (grpc_door.MOST_BYTES + 1), b"", b""], object))
    refused(lambda: client.infer("small", large), "RESOURCE_EXHAUSTED", "larger than max")


def test_the_deadline_of_the_client_ends_the_question() -> None:
    left = threading.Event()

    async def slow(request: Request) -> PlainTextResponse:
        await request.body()
        while not await request.is_disconnected():
            await asyncio.sleep(0.02)
        left.set()
        return PlainTextResponse("")

    route = Route("/small/v2/models/small/infer", slow, methods=["POST"])
    with live(Starlette(routes=[route])) as url, asking(url) as client:
        refused(lambda: client.infer("small", columns(), client_timeout=0.5), "DEADLINE_EXCEEDED", "")
        assert left.wait(30)  # nobody computes what nobody waits for


def test_keys_hold_and_ids_come_back(tmp_path: Path) -> None:
    made = {scope: keys.create(str(tmp_path), scope, [scope])[1] for scope in ("score", "label")}
    slow = keys.create(str(tmp_path), "slow", ["score"], rate=0.01)[1]
    ring = KeyRing(opening.access(str(tmp_path), Network())[0], every_s=3600)
    app = Starlette(routes=[Mount("/small", served.transaction_app(tmp_path, ring=ring))])
    with live(app) as url, asking(url) as client:
        refused(lambda: client.infer("small", columns()), "UNAUTHENTICATED", "is missing")
        refused(lambda: client.is_model_ready("small"), "UNAUTHENTICATED", "is missing")
        other = {"authorization": f"Bearer {made['label']}"}
        refused(lambda: client.get_model_metadata("small", headers=other), "PERMISSION_DENIED", "scope label")
        client.infer("small", columns(), headers={"x-api-key": slow})
        often = {"x-api-key": slow}
        refused(lambda: client.infer("small", columns(), headers=often), "RESOURCE_EXHAUSTED", "try again later")
        mine = {"authorization": f"Bearer {made['score']}", "x-request-id": "trace-9"}
        client.infer("small", columns(), headers=mine)
    log = [path.read_text() for path in (tmp_path / "capture").rglob("*") if path.is_file()]
    assert any("trace-9" in text for text in log)
    ring.close()


def test_a_certificate_is_shown_to_clients(tmp_path: Path, address: str) -> None:
    network = self_signed(tmp_path)
    with opened(address, network) as network:
        at = f"127.0.0.1:{network.grpc_port}"
        with InferenceServerClient(at, ssl=True, root_certificates=network.certificate) as client:
            assert client.is_model_ready("small")
        with InferenceServerClient(at) as client, pytest.raises(InferenceServerException):
            client.is_server_live(client_timeout=5)


def test_a_taken_port_is_named(address: str, door: str) -> None:
    taken = Network(grpc_port=int(door.rpartition(":")[2]))
    told = f"gRPC cannot listen on {door}.*set deploy.network.grpc_port"
    with pytest.raises(EndpointError, match=told), opened(address, taken):
        raise AssertionError("two doors on one port")
