"""Keys and TLS in front of real replicas: deployed with them by the stage, asked over the network address."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ray_mlops.contract import Endpoint, Run
from ray_mlops.errors import EndpointError
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving.access import keys
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.endpoint import Scale
from ray_mlops.stages import deploy, register
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.stages.register import RegisterConfig
from tests.serving.access.live import wait_for
from tests.serving.access.test_network import self_signed
from tests.small_model import example, study, transactions

GOOD = example(transactions())
NAME = "guarded"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def shop(root: Path) -> str:
    return keys.create(str(root), "shop", ["score"])[1]


@pytest.fixture(scope="module")
def network(root: Path) -> Network:
    """All addresses of this machine, over TLS."""
    return self_signed(root / "tls").model_copy(update={"host": "0.0.0.0"})


@pytest.fixture(scope="module")
def endpoint(ray_session: None, root: Path, shop: str, network: Network) -> Iterator[Endpoint]:
    run = Run(root=str(root), id="r1", recipe="small", uri=str(root / "artifact"), fingerprint="print")
    version = register.run(RegisterConfig(name=NAME), run, **study(root))
    config = DeployConfig(port=free_port(), network=network, scale=Scale(max_replicas=1), parity_rows=0)
    yield deploy.run(config, run, version=version)
    deploy.undeploy(NAME)


@pytest.fixture(scope="module")
def client(endpoint: Endpoint, network: Network) -> Iterator[httpx.Client]:
    trusted = ssl.create_default_context(cafile=network.certificate)
    with httpx.Client(base_url=endpoint.url, verify=trusted, timeout=30) as client:
        yield client


def with_key(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def test_a_key_opens_the_endpoint_and_nothing_else_does(client: httpx.Client, shop: str) -> None:
    assert client.post("/score", json=GOOD, headers=with_key(shop)).json()["id"] == GOOD["transaction_id"]
    refused = client.post("/score", json=GOOD)
    assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    assert "is missing" in refused.json()["error"]["message"]
    wrong = with_key(shop[:-1] + ("a" if shop[-1] != "a" else "b"))
    assert client.post("/score", json=GOOD, headers=wrong).status_code == 401


def test_scopes_hold_behind_the_prefix_of_the_endpoint(client: httpx.Client, shop: str, root: Path) -> None:
    assert client.get("/health").json()["endpoint"] == NAME  # a load balancer has no key
    assert client.get("/model").status_code == 401
    assert client.get("/model", headers=with_key(shop)).status_code == 200
    for path, method in (("/stats", "GET"), ("/labels", "POST")):
        answer = client.request(method, path, headers=with_key(shop))
        assert answer.status_code == 403 and "scope score" in answer.json()["error"]["message"]
    page = client.get("/docs")  # it asks for a key itself and tells nothing of the model before
    assert page.status_code == 200 and not any(column in page.text for column in GOOD)
    for path in ("/openapi.json", "/nothing", "/../health", "/%2e%2e/score"):
        assert client.get(path).status_code in (401, 404), path


def test_keys_come_and_go_while_replicas_run(client: httpx.Client, root: Path) -> None:
    key, text = keys.create(str(root), "ops", ["admin"])
    wait_for(lambda: client.get("/stats", headers=with_key(text)).status_code == 200)
    keys.revoke(str(root), key.id)
    wait_for(lambda: client.get("/stats", headers=with_key(text)).status_code == 401)


def test_a_key_has_a_rate(client: httpx.Client, root: Path) -> None:
    _, text = keys.create(str(root), "slow", ["score"], rate=0.001)
    wait_for(lambda: client.post("/score", json=GOOD, headers=with_key(text)).status_code == 200)
    refused = client.post("/score", json=GOOD, headers=with_key(text))
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 100


def test_deep_json_is_refused_and_the_replica_lives(client: httpx.Client, shop: str) -> None:
    headers = {**with_key(shop), "content-type": "application/json"}
    answer = client.post("/score", content=b"[" * 100_000, headers=headers)
    assert answer.status_code == 400 and "32 levels" in answer.json()["error"]["message"]
    assert client.post("/score", json=GOOD, headers=with_key(shop)).status_code == 200


def test_it_speaks_tls_only(endpoint: Endpoint) -> None:
    assert endpoint.url.startswith("https://127.0.0.1:") and deploy.is_live(endpoint)
    with pytest.raises(httpx.HTTPError):
        httpx.get(endpoint.url.replace("https:", "http:") + "/health")
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"{endpoint.url}/health")


def test_what_is_recorded_of_a_deployment_opens_nothing(endpoint: Endpoint, root: Path, shop: str) -> None:
    record = (root / "endpoints" / NAME / "endpoint.json").read_text()
    known = json.loads((root / "access" / "keys.json").read_text())
    assert "rmk_" not in record and shop.split("_", 2)[2] not in json.dumps(known)
    assert "deployer" not in {key["name"] for key in known}


def test_a_cluster_that_speaks_tls_takes_no_endpoint_that_does_not(endpoint: Endpoint, root: Path) -> None:
    port = int(endpoint.url.split(":")[2].split("/")[0])
    run = Run(root=str(root), id="r2", recipe="small", uri=str(root / "artifact2"), fingerprint="print2")
    version = register.run(RegisterConfig(name="plain"), run, **study(root / "second"))
    with pytest.raises(EndpointError, match="set deploy.network.host to 0.0.0.0"):
        deploy.run(DeployConfig(port=port, parity_rows=0), run, version=version)
    assert deploy.is_live(endpoint)
