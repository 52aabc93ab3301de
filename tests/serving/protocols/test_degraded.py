"""An answer without the model is marked as such in every protocol, as its clients read it."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import boto3
import httpx
import numpy as np
import pytest
from botocore.config import Config
from starlette.applications import Starlette
from starlette.routing import Mount
from tritonclient import grpc, http

from ray_mlops.fraud.predictor import Predictor
from ray_mlops.serving.substitute import Substitute
from tests.serving.access.live import live
from tests.serving.protocols.questions import TYPES
from tests.serving.protocols.test_grpc import asking
from tests.serving.test_app import Gone, a_scorer, an_app
from tests.small_model import bundle, example, transactions

GOOD = example(transactions())
LINES = f"{','.join(GOOD)}\n{','.join(str(value) for value in GOOD.values())}\n"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An endpoint `small` whose entity store does not answer."""
    folder = tmp_path_factory.mktemp("degraded")
    whole = a_scorer(Predictor.load(bundle(folder)), folder)
    broken = replace(whole, store=Gone(), substitute=Substitute(0.0))  # pyright: ignore[reportArgumentType]
    with live(Starlette(routes=[Mount("/small", an_app(broken))])) as url:
        yield url


def tensors(kind: type) -> list:
    found = []
    for name, value in GOOD.items():
        array = np.array([value], object if TYPES[name] == "BYTES" else None)
        given = kind(name, [1], TYPES[name])
        given.set_data_from_numpy(array)
        found.append(given)
    return found


def test_sagemaker_and_mlflow(address: str) -> None:
    post = f"{address}/small/invocations"
    mlflow = httpx.post(post, json={"dataframe_records": [GOOD, {**GOOD, "transaction_id": 7}]}).json()
    assert [row["degraded"] for row in mlflow["predictions"]] == ["score", "score"]
    lines = httpx.post(post, content=json.dumps(GOOD), headers={"content-type": "application/jsonlines"})
    assert lines.json()["results"][0]["degraded"] == "score"
    npy = httpx.post(post, json=GOOD, headers={"accept": "application/x-npy"})
    assert npy.headers["x-degraded"] == "score" and np.load(io.BytesIO(npy.content)).shape == (1, 2)
    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=f"{address}/small",
        region_name="eu-central-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"max_attempts": 0}, proxies={}),
    )
    told = client.invoke_endpoint(EndpointName="small", ContentType="text/csv", Accept="text/csv", Body=LINES)
    assert told["ResponseMetadata"]["HTTPHeaders"]["x-degraded"] == "score"
    assert told["Body"].read().decode().count("\n") == 1


def test_the_open_inference_protocol_over_http(address: str) -> None:
    with http.InferenceServerClient(f"{address.removeprefix('http://')}/small") as client:
        answer = client.infer("small", tensors(http.InferInput))
    assert answer.get_response()["parameters"] == {"degraded": "score"}
    assert answer.as_numpy("score").tolist() == [0.0]


def test_the_open_inference_protocol_over_grpc(address: str) -> None:
    with asking(address) as client:
        answer = client.infer("small", tensors(grpc.InferInput))
    assert answer.get_response().parameters["degraded"].string_param == "score"
    assert answer.as_numpy("score").tolist() == [0.0]
