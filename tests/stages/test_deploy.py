"""Deploy: a registered version becomes an endpoint that knows the recent history of every entity."""

import json
import shutil
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from ray_mlops.contract import Algorithm, Endpoint, ModelVersion, Run
from ray_mlops.errors import EndpointError, StorageError
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.platform.bundle import Bundle, origin
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.endpoint import Scale
from ray_mlops.stages import deploy, register
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.stages.register import RegisterConfig
from tests.own_algorithm import LargeAmounts
from tests.small_model import study, transactions

HOST = "127.0.0.1"


def a_run(root: Path) -> Run:
    return Run(root=str(root), id="r1", recipe="small", uri=str(root / "artifact"), fingerprint="print")


def registered(root: Path, algorithm: Algorithm | None = None) -> ModelVersion:
    return register.run(RegisterConfig(name="shop"), a_run(root), **study(root, algorithm))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def config() -> DeployConfig:
    return DeployConfig(port=free_port(), scale=Scale(max_replicas=1))


@pytest.fixture(scope="module")
def version(root: Path) -> ModelVersion:
    return registered(root)


@pytest.fixture(scope="module")
def endpoint(ray_session: None, root: Path, config: DeployConfig, version: ModelVersion) -> Iterator[Endpoint]:
    yield deploy.run(config, a_run(root), version=version)
    deploy.undeploy("shop")


def lines(endpoint: Endpoint) -> list[dict[str, Any]]:
    files = sorted(Path(endpoint.capture).glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def test_a_port_taken_by_another_program_is_named(ray_session: None, root: Path, version: ModelVersion) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EndpointError, match=f"port {port} of 127.0.0.1 is taken by another program"):
            deploy.run(DeployConfig(port=port), a_run(root), version=version)


def test_serve_does_not_stay_for_nobody(ray_session: None) -> None:
    port = free_port()
    with pytest.raises(ValueError, match="on the way"), endpoints.opening(port):
        raise ValueError("on the way")
    socket.create_server((HOST, port)).close()


def test_the_endpoint_is_named_after_the_model_and_lives_in_the_root(
    endpoint: Endpoint, config: DeployConfig, version: ModelVersion, root: Path
) -> None:
    assert endpoint.url == f"http://{HOST}:{config.port}/shop"
    assert (endpoint.name, endpoint.version, endpoint.digest) == ("shop", version.version, version.digest)
    assert endpoint.capture == str(root / "endpoints" / "shop" / "capture")
    assert deploy.is_live(endpoint) and endpoint.parity_rows > 500
    assert Endpoint.model_validate_json((root / "endpoints" / "shop" / "endpoint.json").read_text()) == endpoint


def test_the_example_was_asked_through_the_front_door_with_the_features_of_training(
    endpoint: Endpoint, version: ModelVersion
) -> None:
    table = transactions()
    definition = Predictor.load(Bundle.load(version.uri)).definition
    expected = definition.encode(definition.compute(table))[-1]
    first = lines(endpoint)[0]
    assert first["id"] == 3999
    assert [first["features"][name] for name in definition.names] == pytest.approx(expected.tolist(), rel=1e-6)


def test_a_new_transaction_is_counted_on_top_of_the_history(endpoint: Endpoint) -> None:
    last = transactions().slice(3999).to_pylist()[0]
    example = httpx.get(f"{endpoint.url}/model").json()["example"]
    before = next(line for line in lines(endpoint) if line["id"] == 3999)["features"]["customer_id_count_7d"]
    assert before > 1 and last["customer_id"] == example["customer_id"]
    httpx.post(f"{endpoint.url}/score", json={**example, "transaction_id": 10_000})
    assert lines(endpoint)[-1]["features"]["customer_id_count_7d"] == before + 1


def test_deploying_again_goes_on_from_the_same_state(
    endpoint: Endpoint, config: DeployConfig, version: ModelVersion, root: Path
) -> None:
    example = httpx.get(f"{endpoint.url}/model").json()["example"]
    httpx.post(f"{endpoint.url}/score", json={**example, "transaction_id": 20_000})
    counted = lines(endpoint)[-1]["features"]["customer_id_count_7d"]
    again = deploy.run(config, a_run(root), version=version.model_copy(update={"version": "2"}))
    assert again.url == endpoint.url and lines(endpoint)[-1]["version"] == "2"
    httpx.post(f"{endpoint.url}/score", json={**example, "transaction_id": 20_001})
    assert lines(endpoint)[-1]["features"]["customer_id_count_7d"] == counted + 1


def other(config: DeployConfig, **settings: Any) -> DeployConfig:
    return config.model_copy(update={"name": "other", **settings})


def test_a_users_own_algorithm_is_served_beside_it_and_a_broken_version_replaces_nothing(
    endpoint: Endpoint, config: DeployConfig, tmp_path: Path
) -> None:
    own = registered(tmp_path, LargeAmounts())
    second = deploy.run(other(config), a_run(tmp_path), version=own)
    example = httpx.get(f"{second.url}/model").json()["example"]
    answer = httpx.post(f"{second.url}/score", json={**example, "transaction_id": 1, "amount": 1000.0}).json()
    assert (answer["digest"], answer["decision"]) == (own.digest, "block")
    assert answer["reasons"][0]["feature"] == "amount"
    assert deploy.is_live(endpoint) and deploy.is_live(second)
    broken = a_bundle_without_its_code(Path(own.uri), tmp_path)
    with pytest.raises(EndpointError, match="'other' did not start: .*its file own_algorithm.py is missing"):
        deploy.run(other(config), a_run(tmp_path), version=broken)
    assert deploy.is_live(second)
    deploy.undeploy("other")
    assert not deploy.is_live(second) and deploy.is_live(endpoint)


def a_bundle_without_its_code(whole: Path, folder: Path) -> ModelVersion:
    source = folder / "broken"
    shutil.copytree(whole, source, ignore=shutil.ignore_patterns("code", "manifest.json"))
    made = Bundle.write(str(source), str(folder / "bundles"))
    shutil.copyfile(origin(str(whole)), origin(made.uri))
    return ModelVersion(uri=made.uri, fingerprint="f", name="shop", version="9", digest=made.digest)


def test_a_replica_that_finds_no_room_is_given_up(
    endpoint: Endpoint, config: DeployConfig, version: ModelVersion, root: Path
) -> None:
    greedy = other(config, name="greedy", scale=Scale(cpus=1000), ready_s=2.0)
    with pytest.raises(EndpointError, match="'greedy' did not start: it was not ready within 2 s"):
        deploy.run(greedy, a_run(root), version=version)
    with pytest.raises(EndpointError, match="no endpoint is called 'greedy'; running: shop"):
        deploy.undeploy("greedy")


def test_all_endpoints_of_a_cluster_share_a_port(
    endpoint: Endpoint, config: DeployConfig, version: ModelVersion, root: Path
) -> None:
    with pytest.raises(EndpointError, match=f"answer on port {config.port}, so port 1234 cannot be used"):
        deploy.run(other(config, port=1234), a_run(root), version=version)


def test_a_damaged_bundle_is_refused_before_anything_starts(
    endpoint: Endpoint, config: DeployConfig, version: ModelVersion, tmp_path: Path
) -> None:
    damaged = tmp_path / "bundles" / version.digest
    shutil.copytree(version.uri, damaged)
    (damaged / "thresholds.json").write_text("{}")
    with pytest.raises(StorageError, match="thresholds.json is damaged"):
        deploy.run(config, a_run(tmp_path), version=version.model_copy(update={"uri": str(damaged)}))
    assert deploy.is_live(endpoint) and not (tmp_path / "endpoints").exists()


def test_a_bundle_without_the_table_it_was_made_from_is_deployed_only_without_the_proof(
    version: ModelVersion, tmp_path: Path
) -> None:
    shutil.copytree(version.uri, tmp_path / "bundles" / version.digest)
    brought = version.model_copy(update={"uri": str(tmp_path / "bundles" / version.digest)})
    deployments: list[Any] = [deploy.run, deploy.ready, partial(deploy.prepared, folder=str(tmp_path / "many"))]
    for deployed in (*deployments, deploy.prove):
        with pytest.raises(StorageError, match=r"'shop': .*\.origin\.json is missing.*deploy\.parity_rows=0"):
            deployed(DeployConfig(port=free_port()), a_run(tmp_path), version=brought)
    assert not (tmp_path / "endpoints").exists() and not (tmp_path / "many").exists()
    assert deploy.ready(DeployConfig(parity_rows=0), a_run(tmp_path), version=brought).digest == version.digest


def test_an_endpoint_may_have_a_name_of_its_own(config: DeployConfig) -> None:
    assert config.model_copy(update={"name": "eu-shop"}).name == "eu-shop"
    for name in ("../up", "a/b", "-x", "ü", "x" * 64):
        with pytest.raises(ValueError, match="name"):
            DeployConfig(name=name)


def test_nothing_lives_where_nobody_listens(endpoint: Endpoint) -> None:
    assert not deploy.is_live(endpoint.model_copy(update={"url": f"http://{HOST}:{free_port()}/shop"}))
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        assert not deploy.is_live(endpoint.model_copy(update={"url": f"http://{HOST}:{port}/shop"}))


def test_undeploying_twice_says_what_runs(endpoint: Endpoint) -> None:
    with pytest.raises(EndpointError, match="no endpoint is called 'stop'; did you mean 'shop'"):
        deploy.undeploy("stop")
