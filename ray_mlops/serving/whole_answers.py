"""Answers that leave a replica whole: the head of one goes out with its body, in one write, where both are there at once.

uvicorn writes the head by itself. Of a replica that is killed between the two writes HAProxy has the head of an answer, has passed
it on, and can ask no other replica any more.
"""

import asyncio
from typing import Any

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD, _INTERIM = b"HTTP/1.1 ", b"HTTP/1.1 1"


class _Whole:
    """A transport that keeps the head of an answer for what is written after it in the same turn of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop, self._head = transport, loop, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, content: bytes) -> None:
        """Send, the head of an answer a little later."""
        if self._head:
            content, self._head = self._head + content, b""
        elif content.startswith(_HEAD) and not content.startswith(_INTERIM):
            self._head = content
            self._loop.call_soon(self._flush)
            return
        self._transport.write(content)

    def close(self) -> None:
        """Close once all is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


class WholeAnswers(HttpToolsProtocol):
    """uvicorn's HTTP, with whole answers."""

    def connection_made(self, transport: Any) -> None:
        """Begin with a connection."""
        super().connection_made(_Whole(transport, self.loop))  # pyright: ignore[reportArgumentType]


def use() -> None:
    """Have each server of uvicorn that this process starts from now on, and that names no other protocol, send whole answers."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{WholeAnswers.__name__}"
