"""The Open Inference Protocol over HTTP, asked by Triton's own client: the numbers of the native route, and its errors."""

import io
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.serving.protocols import served
from tests.serving.protocols.questions import COLUMNS, TYPES, WHITE, WHITE_PIXELS, values


def a_client(url: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


@pytest.fixture
def client(address: str) -> Iterator[InferenceServerClient]:
    yield from a_client(f"{address}/small")


@pytest.fixture
def images(address: str) -> Iterator[InferenceServerClient]:
    yield from a_client(f"{address}/shades")


def tensor(name: str, kind: str, array: np.ndarray, *, binary: bool = True) -> InferInput:
    given = InferInput(name, list(array.shape), kind)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def columns(*, binary: bool = True, **other: tuple[str, np.ndarray]) -> list[InferInput]:
    given = {name: (TYPES[name], values(name)) for name in COLUMNS} | other
    return [tensor(name, kind, array, binary=binary) for name, (kind, array) in given.items()]


def texts(array: Any) -> list[str]:
    return [one.decode() if isinstance(one, bytes) else one for one in array.ravel().tolist()]


def same(answer: Any, native: list[dict]) -> bool:
    found = [answer.as_numpy(name).tolist() for name in ("id", "score", "probability")]
    found.append(texts(answer.as_numpy("decision")))
    return list(zip(*found, strict=True)) == [
        (one["id"], one["score"], one["probability"], one["decision"]) for one in native
    ]


def test_the_server_is_alive_and_ready_and_says_what_it_is(client: InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready()
    told = client.get_server_metadata()
    assert told["version"] == metadata.version("ray-mlops") and "binary_tensor_data" in told["extensions"]


def test_the_model_is_ready_and_says_what_it_takes(client: InferenceServerClient) -> None:
    assert client.is_model_ready("small") and client.is_model_ready("small", "1")
    assert not client.is_model_ready("other") and not client.is_model_ready("small", "2")
    told = client.get_model_metadata("small", "1")
    assert told == client.get_model_metadata("small") and told["versions"] == ["1"]
    assert {one["name"]: one["datatype"] for one in told["inputs"]} == TYPES
    assert [one["name"] for one in told["outputs"]] == ["id", "score", "probability", "decision"]
    assert all(one["shape"] == [-1] for one in (*told["inputs"], *told["outputs"]))


@pytest.mark.parametrize("sent_binary", [True, False])
@pytest.mark.parametrize("got_binary", [True, False])
def test_infer_gives_the_numbers_of_the_native_route(
    client: InferenceServerClient, native: list[dict], sent_binary: bool, got_binary: bool
) -> None:
    wanted = [InferRequestedOutput(name, binary_data=got_binary) for name in ("id", "score", "probability", "decision")]
    answer = client.infer("small", columns(binary=sent_binary), model_version="1", outputs=wanted, request_id="order-7")
    assert same(answer, native)
    told = answer.get_response()
    assert (told["id"], told["model_name"], told["model_version"]) == ("order-7", "small", "1")


def test_without_outputs_all_of_them_come(client: InferenceServerClient, native: list[dict]) -> None:
    assert same(client.infer("small", columns()), native)


def test_only_what_is_asked_for_comes(client: InferenceServerClient) -> None:
    answer = client.infer("small", columns(), outputs=[InferRequestedOutput("score")])
    assert [one["name"] for one in answer.get_response()["outputs"]] == ["score"]


def test_columns_may_be_sent_in_a_second_axis_and_in_other_types(
    client: InferenceServerClient, native: list[dict]
) -> None:
    wide = {
        "customer_id": ("FP64", values("customer_id").astype(np.float64)[:, None]),
        "transaction_id": ("INT32", values("transaction_id").astype(np.int32)),
    }
    assert same(client.infer("small", columns(**wide)), native)


def test_the_request_id_of_the_caller_is_in_the_log(client: InferenceServerClient, address: str, log: Path) -> None:
    client.infer("small", columns(), request_id="from-triton-1")
    assert any("from-triton-1" in path.read_text() for path in log.rglob("*") if path.is_file())


def test_a_picture_gets_the_answer_of_the_native_route(images: InferenceServerClient, address: str) -> None:
    native = httpx.post(f"{address}/shades/predict", content=WHITE, params={"top": 3}).json()
    pixels = np.repeat(WHITE_PIXELS, 3, axis=2)[None]
    for given in (
        tensor("image", "BYTES", np.array([WHITE], object)),
        tensor("image", "UINT8", pixels),
        tensor("image", "UINT8", pixels, binary=False),
    ):
        answer = images.infer("shades", [given])
        assert texts(answer.as_numpy("class")) == [native["class"]]
        assert answer.as_numpy("probability").tolist() == [native["probability"]]
        found = dict(zip(served.CLASSES, answer.as_numpy("probabilities")[0].tolist(), strict=True))
        assert found == {one["class"]: one["probability"] for one in native["top"]}
    assert {"name": "image", "datatype": "BYTES", "shape": [-1]} in images.get_model_metadata("shades")["inputs"]


AMOUNT = np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("other", "status", "words"),
    [
        ({"amount": ("FP64", AMOUNT[:2])}, "422", "differ in length"),
        ({"amount": ("FP64", -AMOUNT)}, "422", "rows.0.amount"),
        ({"amount": ("FP64", AMOUNT.reshape(1, 3))}, "422", "a column is [rows] or [rows, 1]"),
        ({"color": ("FP64", AMOUNT)}, "422", "color is no input of small"),
        ({"note": ("BYTES", np.array([b"\xff", b"", b""], object))}, "422", "UTF-8"),
        ({"time": ("INT64", np.arange(3))}, "422", "rows.0.time"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_named(
    client: InferenceServerClient, other: dict[str, Any], status: str, words: str
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.infer("small", columns(**other))
    assert refused.value.status() == status and words in refused.value.message()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (InferRequestedOutput("color"), "color is no output of small; there are id, score"),
        (InferRequestedOutput("score", class_count=2), "classification"),
    ],
)
def test_an_output_that_is_not_there_is_named(
    client: InferenceServerClient, wanted: InferRequestedOutput, words: str
) -> None:
    with pytest.raises(InferenceServerException, match=words):
        client.infer("small", columns(), outputs=[wanted])


def test_another_model_is_an_error_of_the_protocol(client: InferenceServerClient) -> None:
    for ask in (lambda: client.infer("other", columns()), lambda: client.get_model_metadata("small", "2")):
        with pytest.raises(InferenceServerException, match="this endpoint has the model small, version 1") as refused:
            ask()
        assert refused.value.status() == "404"


def test_too_many_rows_and_too_many_bytes_are_refused(client: InferenceServerClient) -> None:
    rows = {name: (TYPES[name], np.repeat(values(name), 20)) for name in COLUMNS}
    with pytest.raises(InferenceServerException, match="50") as refused:
        client.infer("small", columns(**rows))
    assert refused.value.status() == "413"
    note = {"note": ("BYTES", np.array([b"x" * 200_000, b"", b""], object))}
    with pytest.raises(InferenceServerException, match="100,000 bytes") as refused:
        client.infer("small", columns(**note))
    assert refused.value.status() == "413"


def one(**changed: Any) -> dict[str, Any]:
    return {"name": "amount", "datatype": "FP64", "shape": [1], "data": [1.0], **changed}


@pytest.mark.parametrize(
    ("content", "headers", "status", "words"),
    [
        ("{", {}, 400, "JSON"),
        ("[" * 100, {}, 400, "nests deeper"),
        ({"inputs": []}, {}, 422, "inputs"),
        ({}, {}, 422, "inputs"),
        ({"inputs": [one(), one()]}, {}, 422, "amount is there twice"),
        ({"inputs": [one(datatype="FP8")]}, {}, 422, "known are BYTES"),
        ({"inputs": [one(shape=[2])]}, {}, 422, "has 1 values"),
        ({"inputs": [one(shape=[])]}, {}, 422, "axes"),
        ({"inputs": [one(shape=[0], data=[])]}, {}, 422, "at least 1"),
        ({"inputs": [one(data=["much"])]}, {}, 422, "values of FP64"),
        ({"inputs": [one(data=[True])]}, {}, 422, "values of FP64"),
        ({"inputs": [one(data=[300], datatype="UINT8")]}, {}, 422, "values of UINT8"),
        ({"inputs": [one(data=[3], datatype="BYTES")]}, {}, 422, "hold text"),
        ({"inputs": [one(data=None, parameters={"binary_data_size": 8})]}, {}, 422, "0 bytes are left"),
        ({"inputs": [one(data=None, parameters={"binary_data_size": True})]}, {}, 422, "binary_data_size True"),
        ({"inputs": [one(data=None, parameters={"shared_memory_region": "a"})]}, {}, 422, "has 0 values"),
        ({"inputs": [one()]}, {"Inference-Header-Content-Length": "7000"}, 400, "inference-header-content-length"),
        ({"inputs": [one()]}, {"Inference-Header-Content-Length": "-1"}, 400, "inference-header-content-length"),
        ({"inputs": [one()]}, {"Content-Encoding": "gzip"}, 415, "content-encoding"),
    ],
)  # fmt: skip
def test_what_no_client_sends_is_refused_in_words_of_the_protocol(
    address: str, content: Any, headers: dict[str, str], status: int, words: str
) -> None:
    body = content if isinstance(content, str) else json.dumps(content)
    answer = httpx.post(f"{address}/small/v2/models/small/infer", content=body, headers=headers)
    assert answer.status_code == status and list(answer.json()) == ["error"] and words in answer.json()["error"]


@pytest.mark.parametrize(
    ("binary", "words"),
    [
        (np.float64(1).tobytes() + b"1", "1 bytes are left"),
        (np.float64(1).tobytes()[:4], "but 4 bytes are left"),
    ],
)
def test_bytes_that_are_no_tensor_are_refused(address: str, binary: bytes, words: str) -> None:
    head = json.dumps({"inputs": [one(data=None, parameters={"binary_data_size": 8})]}).encode()
    answer = httpx.post(
        f"{address}/small/v2/models/small/infer",
        content=head + binary,
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert answer.status_code == 422 and words in answer.json()["error"]


@pytest.mark.parametrize("packed", [b"\x09\0\0\0abc", b"\x01\0\0\0ab", b"\0\0\0\0\0\0\0\0", b"\x01"])
def test_texts_that_are_not_behind_their_lengths_are_refused(address: str, packed: bytes) -> None:
    given = one(name="note", datatype="BYTES", data=None, parameters={"binary_data_size": len(packed)})
    head = json.dumps({"inputs": [given]}).encode()
    answer = httpx.post(
        f"{address}/small/v2/models/small/infer",
        content=head + packed,
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert answer.status_code == 422 and "behind its length" in answer.json()["error"]


def test_what_is_no_picture_is_refused(images: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="image"):
        images.infer("shades", [tensor("image", "BYTES", np.array([b"none"], object))])
    with pytest.raises(InferenceServerException, match="pictures are uint8"):
        images.infer("shades", [tensor("image", "UINT8", np.zeros((2, 2, 2, 2), np.uint8))])


def test_a_batch_of_pictures_is_answered_in_its_order(images: InferenceServerClient) -> None:
    shades = [np.full((9, 7, 3), value, np.uint8) for value in (255, 0, 128)]
    files = []
    for shade in shades:
        Image.fromarray(shade).save(stream := io.BytesIO(), "PNG")
        files.append(stream.getvalue())
    for given in (tensor("image", "BYTES", np.array(files, object)), tensor("image", "UINT8", np.stack(shades))):
        assert texts(images.infer("shades", [given]).as_numpy("class")) == ["white", "black", "grey"]
