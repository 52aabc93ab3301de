"""Stores of every kind; Redis is a real server that the tests start and stop."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A redis-server on a free port of its own, without persistence."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail("redis-server is not installed: apt-get install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (folder / "log").open("w") as log, subprocess.Popen([program, *options], stdout=log, stderr=log) as server:
        _wait(port)
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, of each kind in turn."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/entities.db"
    return empty_redis(request.getfixturevalue("redis_url"))


def empty_redis(url: str) -> str:
    """The same URL, its database emptied."""
    with Redis.from_url(url) as client:
        client.flushdb()
    return url


def _wait(port: int) -> None:
    for _ in range(100):
        try:
            with Redis(port=port) as client:
                client.ping()
            return
        except ConnectionError:
            time.sleep(0.05)
    pytest.fail(f"redis-server on port {port} does not answer")
