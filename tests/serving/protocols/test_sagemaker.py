"""SageMaker's runtime asked by boto3, the container contract, and MLflow's scoring: the numbers of the native route."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import pandas as pd
import pytest
import schemathesis
from botocore.config import Config
from botocore.exceptions import ClientError
from schemathesis import GenerationMode

from tests.serving import made_up
from tests.serving.protocols import served
from tests.serving.protocols.questions import COLUMNS, WHITE, WHITE_PIXELS

LINES = [[row.get(name, "") for name in COLUMNS] for row in served.ROWS]


def a_client(url: str) -> Any:
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"max_attempts": 0}),
    )


@pytest.fixture
def client(address: str) -> Any:
    return a_client(f"{address}/small")


@pytest.fixture
def images(address: str) -> Any:
    return a_client(f"{address}/shades")


def as_csv(lines: list[list[Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows(lines)
    return stream.getvalue()


def as_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=array.dtype.hasobject)
    return stream.getvalue()


STRUCTURED = np.array(
    [(row["transaction_id"], row["time"], row["amount"], row["channel"]) for row in served.ROWS],
    dtype=[("transaction_id", "i8"), ("time", "U40"), ("amount", "f8"), ("channel", "U10")],
)
BODIES = {
    "json": ("application/json", json.dumps({"transactions": served.ROWS})),
    "lines": ("application/jsonlines", "\n".join(json.dumps(row) for row in served.ROWS)),
    "csv": ("text/csv", as_csv(LINES)),
    "csv with header": ("text/csv; charset=utf-8", as_csv([COLUMNS[::-1], *(line[::-1] for line in LINES)])),
    "npy": ("application/x-npy", as_npy(STRUCTURED)),
}


@pytest.mark.parametrize("way", BODIES)
def test_boto3_gets_the_results_of_the_native_route(way: str, client: Any, native: list[dict]) -> None:
    kind, body = BODIES[way]
    answer = client.invoke_endpoint(EndpointName="small", ContentType=kind, Body=body)
    assert answer["ContentType"] == "application/json" and answer["InvokedProductionVariant"] == "AllTraffic"
    told = json.loads(answer["Body"].read())
    assert told["results"] == native and (told["model"], told["version"]) == ("small", "1")


def test_the_accept_header_chooses_the_form_of_the_answer(client: Any, native: list[dict]) -> None:
    kind, body = BODIES["csv"]

    def ask(accept: str) -> bytes:
        answer = client.invoke_endpoint(EndpointName="small", ContentType=kind, Body=body, Accept=accept)
        assert answer["ContentType"] == accept
        return answer["Body"].read()

    assert [json.loads(line) for line in ask("application/jsonlines").splitlines()] == native
    names = ("id", "score", "probability", "decision")
    lines = list(csv.reader(io.StringIO(ask("text/csv").decode())))
    assert lines == [[str(one[name]) for name in names] for one in native]
    numbers = np.load(io.BytesIO(ask("application/x-npy")), allow_pickle=False)
    assert numbers.tolist() == [[one["score"], one["probability"]] for one in native]


def test_identity_attributes_and_variant_come_back(client: Any) -> None:
    answer = client.invoke_endpoint(
        EndpointName="small",
        ContentType="application/json",
        Body=json.dumps(served.ROWS[0]),
        InferenceId="order 7".replace(" ", "-"),
        CustomAttributes="trace=1",
        TargetVariant="AllTraffic",
    )
    assert answer["CustomAttributes"] == "trace=1" and answer["InvokedProductionVariant"] == "AllTraffic"
    assert json.loads(answer["Body"].read())["request_id"] == "order-7"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ({"EndpointName": "other"}, "ValidationError", "Endpoint other is not here"),
        ({"TargetVariant": "blue"}, "ValidationError", "no variant of small"),
        ({"TargetModel": "a.tar.gz"}, "ValidationError", "serves one model"),
        ({"InferenceId": "a b"}, "ValidationError", "InferenceId"),
        ({"Body": "x" * 200_000}, "ValidationError", "100,000 bytes"),
        ({"Body": as_csv(LINES * 30)}, "ValidationError", "at most 50"),
        ({"Body": "1,2"}, "ModelError", "a row has 7: transaction_id"),
        ({"Body": ""}, "ModelError", "no rows"),
        ({"Body": as_csv([[*LINES[0][:4], "much", *LINES[0][5:]]])}, "ModelError", "rows.0.amount should be a valid number"),
        ({"Body": b"\xff\xfe"}, "ModelError", "not CSV"),
        ({"ContentType": "text/html"}, "ModelError", "content-type"),
        ({"Accept": "text/html"}, "ModelError", "answers come as"),
        ({"ContentType": "application/json", "Body": "{"}, "ModelError", "not JSON"),
        ({"ContentType": "application/jsonlines", "Body": "{}\n{"}, "ModelError", "line 2 is not JSON"),
        ({"ContentType": "application/jsonlines", "Body": "7"}, "ModelError", "rows.0 should be an object"),
        ({"ContentType": "application/x-npy", "Body": b"no"}, "ModelError", "NPY"),
        ({"ContentType": "application/x-npy", "Body": as_npy(np.array([{}]))}, "ModelError", "pickle"),
        ({"ContentType": "application/x-npy", "Body": as_npy(np.ones(9))[:-8]}, "ModelError", "header says"),
        ({"ContentType": "application/x-npy", "Body": as_npy(np.ones((1, 2, 3)))}, "ModelError", "3 dimensions"),
    ],
)  # fmt: skip
def test_boto3_raises_what_went_wrong(client: Any, arguments: dict[str, Any], code: str, words: str) -> None:
    given = {"EndpointName": "small", "ContentType": "text/csv", "Body": as_csv(LINES), **arguments}
    with pytest.raises(ClientError) as refused:
        client.invoke_endpoint(**given)
    assert refused.value.response["Error"]["Code"] == code
    assert words in refused.value.response["Error"]["Message"]
    assert code != "ModelError" or 400 <= refused.value.response["OriginalStatusCode"] < 500


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-image", WHITE),
        ("image/png", WHITE),
        ("application/x-npy", as_npy(WHITE_PIXELS)),
        ("application/x-npy", as_npy(WHITE_PIXELS[:, :, 0])),
        ("application/x-npy", as_npy(np.repeat(WHITE_PIXELS, 3, axis=2)[None])),
    ],
)
def test_a_picture_gets_the_answer_of_the_native_route(images: Any, address: str, kind: str, body: bytes) -> None:
    native = httpx.post(f"{address}/shades/predict", content=WHITE).json()
    told = json.loads(images.invoke_endpoint(EndpointName="shades", ContentType=kind, Body=body)["Body"].read())
    found = told["results"][0] if "results" in told else told
    assert {name: found[name] for name in ("class", "probability", "top")} == {
        name: native[name] for name in ("class", "probability", "top")
    }


def test_what_is_no_picture_is_a_model_error(images: Any) -> None:
    for kind, body in (("application/x-image", b"none"), ("application/x-npy", as_npy(np.ones((2, 2))))):
        with pytest.raises(images.exceptions.ModelError, match="image"):
            images.invoke_endpoint(EndpointName="shades", ContentType=kind, Body=body)


def test_the_container_contract(address: str, native: list[dict]) -> None:
    assert httpx.get(f"{address}/small/ping").status_code == 200
    kind, body = BODIES["csv"]
    answer = httpx.post(f"{address}/small/invocations", content=body, headers={"content-type": kind})
    assert answer.json()["results"] == native
    assert httpx.post(f"{address}/small/invocations", json={"amount": 1}).status_code == 422


FRAME = pd.DataFrame(served.ROWS)
SHAPES = {
    "dataframe_split": {"dataframe_split": FRAME.to_dict(orient="split")},
    "dataframe_records": {"dataframe_records": served.ROWS},
    "instances": {"instances": served.ROWS},
    "instances by place": {"instances": [[None if cell == "" else cell for cell in line] for line in LINES]},
    "inputs": {"inputs": FRAME.to_dict(orient="list")},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_of_mlflow_gets_the_numbers_of_the_native_route(
    shape: str, address: str, native: list[dict]
) -> None:
    names = ("id", "score", "probability", "decision")
    answer = httpx.post(f"{address}/small/invocations", json=SHAPES[shape])
    assert answer.json() == {"predictions": [{name: one[name] for name in names} for one in native]}, answer.text


def test_the_client_of_mlflow_gets_the_numbers_of_the_native_route(address: str, native: list[dict]) -> None:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient("127.0.0.1", f"{address.rpartition(':')[2]}/small")
    client.ping()
    found = client.invoke(FRAME).get_predictions()
    assert found["score"].tolist() == [one["score"] for one in native]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"instances": [], "inputs": []}, "send one of them"),
        ({"instances": []}, "no rows"),
        ({"instances": 3}, "list of rows"),
        ({"instances": [3]}, "a row has 7"),
        ({"inputs": {"amount": [1, 2], "channel": ["chip"]}}, "differ in length"),
        ({"dataframe_split": {"columns": ["amount"]}}, "data"),
        ({"dataframe_split": {"columns": ["amount"], "data": [[1, 2]]}}, "rows.0"),
        ({"dataframe_records": [served.ROWS[0], {"amount": -1}]}, "rows.1"),
    ],
)
def test_what_is_wrong_in_a_body_of_mlflow_is_named(address: str, content: dict[str, Any], words: str) -> None:
    answer = httpx.post(f"{address}/small/invocations", json=content)
    assert answer.status_code == 422 and words in answer.text


@pytest.mark.parametrize("mode", made_up.MODES)
@pytest.mark.parametrize("app", [served.transaction_app, served.image_app])
def test_requests_made_up_from_the_document_get_the_documented_answers(
    tmp_path: Path, mode: GenerationMode, app: Any
) -> None:
    document = schemathesis.openapi.from_asgi("/openapi.json", app(tmp_path))
    bodies = made_up.ask(document, mode, examples=10)
    assert bodies["/invocations"] and all(bodies.values())
