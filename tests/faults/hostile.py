"""Callers who mean harm, all at once: `python hostile.py HOST PORT PATH SECONDS`, ended by one JSON line.

The line has, by kind of caller, how many were answered with which status; `closed` are those whose connection ended without
an answer, `open` those that nobody has turned away, and `refused` those that no connection was made for.
"""

import asyncio
import json
import os
import resource
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

HUNDRED_MB = 100_000_000
SPARE = 2_000  # file descriptors that are for others than the idle
IDLE = 10_000


def raise_limit() -> int:
    """Have as many file descriptors as this user may; how many idle connections there can be."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return IDLE if most == resource.RLIM_INFINITY else max(0, min(IDLE, most - SPARE))


@dataclass(frozen=True)
class Hostile:
    """The endpoint, and for how long it is beleaguered."""

    host: str
    port: int
    path: str
    seconds: float

    def head(self, *more: str) -> bytes:
        """The headers of a request, but for the empty line."""
        lines = (f"POST {self.path} HTTP/1.1", f"host: {self.host}", "content-type: application/json", *more)
        return "".join(f"{line}\r\n" for line in lines).encode()

    async def drip(self, before: bytes, byte: bytes) -> AsyncIterator[bytes]:
        """Something, and then a byte now and then, without end."""
        yield before
        while True:
            await asyncio.sleep(0.5)
            yield byte

    def slow_headers(self) -> AsyncIterator[bytes]:
        return self.drip(self.head("x-slow: "), b"a")

    def slow_body(self) -> AsyncIterator[bytes]:
        return self.drip(self.head("content-length: 5000") + b"\r\n{", b" ")

    def slow_large_body(self) -> AsyncIterator[bytes]:
        """Larger than the buffer of the ingress, so that it comes as far as a replica."""
        return self.drip(self.head("content-length: 1000000") + b"\r\n{" + b" " * 40_000, b" ")

    async def large_body(self) -> AsyncIterator[bytes]:
        yield self.head(f"content-length: {HUNDRED_MB}") + b"\r\n"
        for _ in range(HUNDRED_MB // 1_000_000):
            yield b" " * 1_000_000

    async def large_chunked_body(self) -> AsyncIterator[bytes]:
        yield self.head("transfer-encoding: chunked") + b"\r\n"
        for _ in range(HUNDRED_MB // 1_000_000):
            yield b"f4240\r\n" + b" " * 1_000_000 + b"\r\n"

    async def garbage(self) -> AsyncIterator[bytes]:
        yield os.urandom(2_000) + b"\r\n\r\n"

    async def half_closed(self) -> AsyncIterator[bytes]:
        """A whole request, and no more from this side."""
        yield self.head("content-length: 2") + b"\r\n{}"

    async def half_sent(self) -> AsyncIterator[bytes]:
        yield self.head("content-length: 500") + b"\r\n{"

    async def idle(self) -> AsyncIterator[bytes]:
        yield b""
        await asyncio.sleep(self.seconds)

    async def all(self) -> dict[str, Counter[str]]:
        """What became of each kind."""
        kinds: list[tuple[Callable[[], AsyncIterator[bytes]], int]] = [
            (self.slow_headers, 300),
            (self.slow_body, 300),
            (self.slow_large_body, 20),
            (self.large_body, 3),
            (self.large_chunked_body, 3),
            (self.garbage, 300),
            (self.half_closed, 100),
            (self.half_sent, 100),
            (self.idle, raise_limit()),
        ]
        return {kind.__name__: count for kind, count in await asyncio.gather(*(self._many(*one) for one in kinds))}

    async def _many(
        self, kind: Callable[[], AsyncIterator[bytes]], number: int
    ) -> tuple[Callable[[], AsyncIterator[bytes]], Counter[str]]:
        closes = kind in (self.half_closed, self.half_sent)
        became = await asyncio.gather(*(self._one(kind(), 0.0005 * place, closes) for place in range(number)))
        return kind, Counter(became)

    async def _one(self, parts: AsyncIterator[bytes], delay: float, closes: bool) -> str:
        await asyncio.sleep(delay)
        try:
            async with asyncio.timeout(self.seconds):
                reader, writer = await asyncio.open_connection(self.host, self.port)
        except (OSError, TimeoutError):
            return "refused"
        sending = asyncio.create_task(_send(parts, writer, closes))
        try:
            async with asyncio.timeout(self.seconds):
                line = await reader.readline()
        except TimeoutError:
            return "open"
        except OSError:
            return "closed"
        finally:
            sending.cancel()
            writer.transport.abort()
        return line.split()[1].decode() if line.startswith(b"HTTP/") else "closed"


async def _send(parts: AsyncIterator[bytes], writer: asyncio.StreamWriter, closes: bool) -> None:
    try:
        async for part in parts:
            writer.write(part)
            await writer.drain()
        if closes:
            writer.write_eof()
    except OSError:
        pass  # the other side has had enough


if __name__ == "__main__":
    beleaguered = Hostile(sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
    print(json.dumps(asyncio.run(beleaguered.all())))
