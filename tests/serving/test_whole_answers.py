"""What a caller has of an answer, when: all of it at once where it is there, each part as it comes where it is not."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from ray_mlops.platform import runtime

SERVER = """
import asyncio, os, sys
import uvicorn, uvloop
from ray_mlops.serving import whole_answers

async def app(scope, receive, send):
    named = [(b"content-length", b"5")] if scope["path"] not in ("/streamed", "/none") else []
    if scope["path"] == "/read":
        await receive()
    await send({"type": "http.response.start", "status": 200 if scope["path"] != "/none" else 204, "headers": named})
    if scope["path"] == "/dies":
        os._exit(0)
    if scope["path"] == "/streamed":
        await asyncio.sleep(2)
    await send({"type": "http.response.body", "body": b"whole" if scope["path"] != "/none" else b""})

if sys.argv[1] == "whole":
    whole_answers.use()
loop = uvloop.new_event_loop() if sys.argv[2] == "uvloop" else asyncio.new_event_loop()
asyncio.set_event_loop(loop)
config = uvicorn.Config(app, port=int(sys.argv[3]), lifespan="off", log_config=None, access_log=False)
loop.run_until_complete(uvicorn.Server(config).serve())
"""


@contextmanager
def server(how: str, loop: str) -> Iterator[int]:
    port = runtime.free_port()
    process = subprocess.Popen([sys.executable, "-c", SERVER, how, loop, str(port)])
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    deadline = time.monotonic() + 60
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with closing(connection):
        yield connection


def asked(connection: socket.socket, path: str, *headers: str) -> None:
    connection.sendall("\r\n".join([f"GET {path} HTTP/1.1", "host: a", *headers, "", ""]).encode())


def rest(connection: socket.socket) -> bytes:
    parts = iter(lambda: connection.recv(65536), b"")
    return b"".join(parts)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_one_that_dies_at_its_answer_has_begun_none(loop: str) -> None:
    with server("whole", loop) as port, connected(port) as connection:
        asked(connection, "/dies")
        assert rest(connection) == b""
    with server("as it is", loop) as port, connected(port) as connection:
        asked(connection, "/dies")
        assert rest(connection).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_answers_are_complete_and_in_their_order(loop: str) -> None:
    with server("whole", loop) as port, connected(port) as connection:
        for _ in range(3):
            asked(connection, "/")
            assert connection.recv(65536).endswith(b"\r\n\r\nwhole")
        asked(connection, "/none")
        assert connection.recv(65536).startswith(b"HTTP/1.1 204 ")
        asked(connection, "/read", "expect: 100-continue", "content-length: 2")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(65536).endswith(b"\r\n\r\nwhole")
        asked(connection, "/", "connection: close")
        assert rest(connection).endswith(b"\r\n\r\nwhole")


def test_one_that_comes_bit_by_bit_is_not_held_back() -> None:
    with server("whole", "uvloop") as port, connected(port) as connection:
        asked(connection, "/streamed", "connection: close")
        first = connection.recv(65536)
        assert first.startswith(b"HTTP/1.1 200 OK") and b"whole" not in first
        assert b"whole" in rest(connection)
