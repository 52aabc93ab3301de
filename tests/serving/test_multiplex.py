"""Many models behind one endpoint: each by its name, keys and names checked, without Ray."""

import asyncio
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from fastapi import FastAPI

from ray_mlops.errors import StorageError
from ray_mlops.serving.access import keys, opening
from ray_mlops.serving.access.keyring import Access, KeyRing
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.multiplex import Loaded, build_models_app
from tests.serving.access.live import live, wait_for
from tests.serving.protocols import served


class Shelf:
    """Loads the small endpoint for every name but `broken`, and notes what is loaded and let go."""

    def __init__(self, root: Path, ring: KeyRing | None = None) -> None:
        self.root, self.ring = root, ring or KeyRing(Access())
        self.held: dict[str, Loaded] = {}
        self.loads: list[str] = []
        told = {name: {"model": name, "version": "1", "digest": "d"} for name in ("small", "broken")}
        self.app: FastAPI = build_models_app(
            "many", told, self.load, loaded=lambda: list(self.held), health={"status": "ok"}, ring=self.ring
        )

    async def load(self, name: str) -> Loaded:
        if name == "broken":
            raise StorageError("the bundle is damaged")
        if name not in self.held:
            self.loads.append(name)
            self.held[name] = Loaded(served.transaction_app(self.root, ring=self.ring), self)
        return self.held[name]

    def close(self) -> None:
        self.loads.append("closed")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def runtime(url: str) -> Any:
    settings = Config(retries={"max_attempts": 0})
    same = {"region_name": "eu-central-1", "aws_access_key_id": "none", "aws_secret_access_key": "none"}
    return boto3.client("sagemaker-runtime", endpoint_url=url, config=settings, **same)


def test_a_model_answers_all_its_routes_below_its_name(shelf: Shelf) -> None:
    with live(shelf.app) as url, httpx.Client(base_url=url) as client:
        listed = client.get("/models").json()["models"]
        assert [(one["model"], one["loaded"]) for one in listed] == [("small", False), ("broken", False)]
        answer = client.post("/models/small/score", json=served.ROWS[0], headers={"x-request-id": "r-1"})
        assert answer.json()["model"] == "small" and answer.json()["request_id"] == "r-1"
        lines = client.post("/models/small/invocations", json={"instances": served.ROWS})
        assert len(lines.json()["predictions"]) == 3
        assert client.get("/models/small/v2/models/small").json()["name"] == "small"
        assert client.get("/models").json()["models"][0]["loaded"] and shelf.loads == ["small"]
        assert client.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize("name", ["smal", "..", "%2e%2e", "a" * 5000])
def test_a_name_that_is_none_loads_nothing(shelf: Shelf, name: str) -> None:
    with live(shelf.app) as url:
        answer = httpx.post(f"{url}/models/{name}/score", json=served.ROWS[0])
    assert answer.status_code == 404 and not shelf.loads
    assert name != "smal" or "did you mean 'small'" in answer.text


def test_a_model_that_cannot_be_loaded_is_not_there_now(shelf: Shelf) -> None:
    with live(shelf.app) as url:
        answer = httpx.post(f"{url}/models/broken/score", json=served.ROWS[0])
    assert answer.status_code == 503 and "the bundle is damaged" in answer.text and answer.headers["retry-after"] == "1"


def test_boto3_names_the_model_by_target_model(shelf: Shelf) -> None:
    with live(shelf.app) as url:
        client, native = runtime(url), httpx.post(f"{url}/models/small/score", json=served.ROWS[0]).json()
        for target in ("small", "small.tar.gz"):
            answer = client.invoke_endpoint(
                EndpointName="many", TargetModel=target, ContentType="application/json", InferenceId="i-1",
                Body=httpx.Request("POST", "/", json=served.ROWS[0]).content,
            )  # fmt: skip
            told = httpx.Response(200, content=answer["Body"].read()).json()
            assert {**told, "request_id": ""} == {**native, "request_id": ""} and told["request_id"] == "i-1"
        for target in ("large", "../small"):
            with pytest.raises(ClientError, match="is none of small") as refused:
                client.invoke_endpoint(EndpointName="many", TargetModel=target, Body=b"{}")
            assert refused.value.response["Error"]["Code"] == "ValidationError"
        with pytest.raises(client.exceptions.ModelError, match="transaction_id"):
            client.invoke_endpoint(EndpointName="many", TargetModel="small", ContentType="application/json", Body=b"{}")


def test_who_has_no_key_loads_nothing_and_each_route_asks_for_its_scope(tmp_path: Path) -> None:
    texts = {scope: keys.create(str(tmp_path), scope, [scope])[1] for scope in ("score", "label")}
    shelf = Shelf(tmp_path, KeyRing(opening.access(str(tmp_path), Network())[0], every_s=3600))
    with live(shelf.app) as url, httpx.Client(base_url=url) as client:
        for path in ("score", "health", "labels"):
            assert client.post(f"/models/small/{path}", json={}).status_code == 401
        assert client.get("/models").status_code == 401 and not shelf.loads
        headers = {scope: {"x-api-key": text} for scope, text in texts.items()}
        assert client.post("/models/small/score", json=served.ROWS[0], headers=headers["score"]).status_code == 200
        assert client.post("/models/small/score", json=served.ROWS[0], headers=headers["label"]).status_code == 403
        label = {"transaction_id": 1, "is_fraud": 1}
        assert client.post("/models/small/labels", json=label, headers=headers["score"]).status_code == 403
        assert client.post("/models/small/labels", json=label, headers=headers["label"]).status_code == 200
    shelf.ring.close()


def test_a_model_let_go_while_it_answers_closes_afterwards() -> None:
    closed: list[bool] = []

    class Holder:
        def close(self) -> None:
            closed.append(True)

    async def run() -> None:
        going = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await going.wait()

        loaded = Loaded(app, Holder())
        asked = [asyncio.create_task(loaded({}, None, None)) for _ in range(2)]  # pyright: ignore
        await asyncio.sleep(0)
        loaded.__del__()
        assert not closed
        going.set()
        await asyncio.gather(*asked)
        assert closed == [True]
        loaded.__del__()

    asyncio.run(run())
    wait_for(lambda: closed == [True])
