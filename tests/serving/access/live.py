"""An application behind a real server on the loopback address, for as long as a test takes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from ray_mlops.platform.runtime import free_port


@contextmanager
def live(app: Any, **options: Any) -> Iterator[str]:
    """The URL of an ASGI application."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started or not thread.is_alive())
    assert server.started
    yield f"{'https' if options.get('ssl_keyfile') else 'http'}://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)


def wait_for(condition: Any) -> None:
    """Returns as soon as something is so; fails when it has not become so for a minute."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not become so within a minute")
