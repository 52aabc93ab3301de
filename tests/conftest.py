"""One Ray, one Redis and one S3 per test session, started and stopped here, with their own ports and folders."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ray_mlops.platform import runtime
from tests.benchmarks.redis_server import redis_server

# A busy machine may take its time: no test depends on how long an example takes.
settings.register_profile("ray_mlops", deadline=None)
settings.load_profile("ray_mlops")


@pytest.hookimpl(tryfirst=True)  # before pytest selects by the mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs on the Ray of the session, so that `make unit` can run the rest beside it."""
    for item in items:
        if "ray_session" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A connected local cluster that ends with the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_MLOPS_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("RAY_ADDRESS", raising=False)
        runtime.connect()
        yield
        runtime.disconnect()
        runtime.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, str]]:
    """An S3 server on a free port of its own: the environment of a process that uses it. Buckets are for tests to make."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A redis-server on a free port of its own, without persistence."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the public data sets, beside the repository; a test that needs it fails when it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.fail(f"this test reads the public data sets, which are not in {folder}: see README, 'Tests'")
    return folder
