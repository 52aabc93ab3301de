"""The gRPC door on Ray Serve: an unmodified client of Triton's finds every endpoint by its name, on one port."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import ray
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from ray_mlops.errors import EndpointError
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving import door, endpoint
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.replica import Settings
from tests.serving.access.live import wait_for
from tests.serving.protocols import served
from tests.serving.protocols.questions import COLUMNS, TYPES, values
from tests.small_model import bundle

PORT, GRPC_PORT = free_port(), free_port()
NETWORK = Network(grpc_port=GRPC_PORT)
SCALE = Scale(max_replicas=1)


def settings(root: Path, name: str) -> Settings:
    made = bundle(root, definition=served.DEFINITION)
    capture = f"{root}/{name}/capture"
    return Settings(
        name=name, bundle=made.uri, digest=made.digest, version="3", store="", capture=capture, limits=Limits()
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("door")


def test_a_port_that_another_program_has_is_named(ray_session: None, root: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", GRPC_PORT))
        other.listen()
        with pytest.raises(EndpointError, match=f"port {GRPC_PORT} is taken .*set deploy.network.grpc_port"):
            endpoint.start(settings(root, "first"), SCALE, port=PORT, network=NETWORK)


@pytest.fixture(scope="module")
def url(ray_session: None, root: Path) -> Iterator[str]:
    url = endpoint.start(settings(root, "first"), SCALE, port=PORT, network=NETWORK)
    endpoint.start(settings(root, "second"), SCALE, port=PORT, network=NETWORK)
    yield url
    endpoint.undeploy("first")


@pytest.fixture
def client(url: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(f"127.0.0.1:{GRPC_PORT}") as client:
        yield client


def scores(client: InferenceServerClient, name: str) -> list[float]:
    given = [InferInput(column, [len(served.ROWS)], TYPES[column]) for column in COLUMNS]
    for one in given:
        one.set_data_from_numpy(values(one.name()))
    return client.infer(name, given).as_numpy("score").tolist()


def test_every_endpoint_is_found_by_its_name_and_gives_its_numbers(client: InferenceServerClient, url: str) -> None:
    assert client.is_server_live() and client.is_server_ready()
    answer = httpx.post(f"{url}/score", json={"transactions": served.ROWS}).json()
    native = [one["score"] for one in answer["results"]]
    assert scores(client, "first") == native == scores(client, "second")
    assert client.is_model_ready("first", "3") and not client.is_model_ready("third")
    assert list(client.get_model_metadata("second").versions) == ["3"]
    with pytest.raises(InferenceServerException, match="no endpoint has that name") as refused:
        scores(client, "third")
    assert refused.value.status() == "StatusCode.NOT_FOUND"


def test_another_port_is_refused_while_the_door_is_open(url: str, root: Path) -> None:
    with pytest.raises(EndpointError, match=f"set deploy.network.grpc_port to {GRPC_PORT}"):
        endpoint.start(settings(root, "fourth"), SCALE, port=PORT, network=Network(grpc_port=free_port()))
    with pytest.raises(EndpointError, match="no endpoint is called 'fourth'"):
        endpoint.undeploy("fourth")


def test_a_door_that_dies_opens_again(client: InferenceServerClient) -> None:
    (first,) = doors()
    ray.kill(ray.get_actor(first, namespace="serve"))
    wait_for(lambda: set(doors()) - {first} and alive(client))
    assert scores(client, "first")


def doors() -> list[str]:
    """The names of the actors that are doors."""
    named = ray.util.list_named_actors(all_namespaces=True)
    return [one["name"] for one in named if f"REPLICA::{door.APPLICATION}#" in one["name"]]


def alive(client: InferenceServerClient) -> bool:
    try:
        return client.is_server_live(client_timeout=1)
    except InferenceServerException:
        return False


def test_the_door_stays_for_the_last_endpoint(client: InferenceServerClient) -> None:
    endpoint.undeploy("second")
    assert scores(client, "first")
    assert not client.is_model_ready("second")
