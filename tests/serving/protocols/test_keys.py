"""Keys behind every protocol: who has none is refused in the protocol's own words, who has one is answered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from ray_mlops.serving.access import keys, opening
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.access.network import Network
from tests.serving.access.live import live
from tests.serving.protocols import served
from tests.serving.protocols.questions import COLUMNS, TYPES, values


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def texts(root: Path) -> dict[str, str]:
    """Keys by their scope; the one with scope `score` may ask often, `slow` once in a hundred seconds."""
    made = {scope: keys.create(str(root), scope, [scope])[1] for scope in ("score", "label")}
    return {**made, "slow": keys.create(str(root), "slow", ["score"], rate=0.01)[1]}


@pytest.fixture(scope="module")
def url(root: Path, texts: dict[str, str]) -> Iterator[str]:
    ring = KeyRing(opening.access(str(root), Network())[0], every_s=3600)
    with live(served.transaction_app(root, ring=ring)) as url:
        yield url
    ring.close()


def runtime(url: str, key: str = "") -> Any:
    """boto3 signs what it sends; a key goes beside the signature."""
    settings = Config(retries={"max_attempts": 0})
    same = {"region_name": "eu-central-1", "aws_access_key_id": "none", "aws_secret_access_key": "none"}
    client = boto3.client("sagemaker-runtime", endpoint_url=url, config=settings, **same)
    if key:
        client.meta.events.register("before-sign.*", lambda request, **_: request.headers.add_header("x-api-key", key))
    return client


def invoke(client: Any) -> Any:
    return client.invoke_endpoint(
        EndpointName="small", ContentType="application/jsonlines", Body=httpx.Request("POST", "/", json=served.ROWS[0]).content
    )  # fmt: skip


def inputs() -> list[InferInput]:
    listed = []
    for name in COLUMNS:
        given = InferInput(name, [len(served.ROWS)], TYPES[name])
        listed.append(given.set_data_from_numpy(values(name)))
    return listed


def test_boto3_is_answered_with_a_key_and_told_in_its_own_words_without(url: str, texts: dict[str, str]) -> None:
    assert invoke(runtime(url, texts["score"]))["ResponseMetadata"]["HTTPStatusCode"] == 200
    refused = {
        "": "AccessDeniedException",
        texts["label"]: "AccessDeniedException",
        texts["slow"]: "ThrottlingException",
    }
    invoke(runtime(url, texts["slow"]))
    for key, code in refused.items():
        with pytest.raises(ClientError) as told:
            invoke(runtime(url, key))
        assert told.value.response["Error"]["Code"] == code
        assert any(word in told.value.response["Error"]["Message"] for word in ("is missing", "scope label", "may ask"))


def test_triton_is_answered_with_a_key_and_told_in_its_own_words_without(url: str, texts: dict[str, str]) -> None:
    with InferenceServerClient(url.removeprefix("http://")) as client:
        assert client.is_server_live() and client.is_server_ready()  # load balancers have no key
        assert not client.is_model_ready("small")
        for headers, status in (({}, "401"), ({"Authorization": f"Bearer {texts['label']}"}, "403")):
            with pytest.raises(InferenceServerException, match="is missing|scope label") as refused:
                client.infer("small", inputs(), headers=headers)
            assert refused.value.status() == status
        headers = {"Authorization": f"Bearer {texts['score']}"}
        assert client.is_model_ready("small", headers=headers)
        assert client.infer("small", inputs(), headers=headers).as_numpy("score").shape == (len(served.ROWS),)


@pytest.mark.parametrize("path", ["score", "invocations", "endpoints/small/invocations", "v2/models/small/infer"])
def test_no_route_that_answers_is_open(url: str, texts: dict[str, str], path: str) -> None:
    assert httpx.post(f"{url}/{path}", json=served.ROWS[0]).status_code == 401
    key = {"x-api-key": texts["score"]}
    assert httpx.post(f"{url}/{path}", json=served.ROWS[0], headers=key).status_code not in (401, 403)
