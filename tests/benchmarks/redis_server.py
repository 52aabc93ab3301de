"""A real redis-server of one's own."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError


@contextmanager
def redis_server(folder: Path, host: str = "127.0.0.1") -> Iterator[str]:
    """The URL of a server on a free port of one of this machine's addresses, without persistence; FileNotFoundError where
    none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("redis-server is not installed: apt-get install redis-server")
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", host, "--protected-mode", "no", "--save", "", "--dir", str(folder)]
    with (
        (folder / "redis.log").open("w") as log,
        subprocess.Popen([program, *options], stdout=log, stderr=log) as server,
    ):
        try:
            _wait(host, port)
            yield f"redis://{host}:{port}/0"
        finally:
            server.terminate()


def _wait(host: str, port: int) -> None:
    for attempt in range(200):
        try:
            with Redis(host, port) as client:
                client.ping()
            return
        except ConnectionError:
            if attempt == 199:
                raise
            time.sleep(0.05)
