"""Load from another process, by wrk, and what it saw; and requests at a steady rate."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

_SCRIPT = """
wrk.method = "POST"
wrk.headers["content-type"] = "{kind}"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{{"requests": %d, "us": %d, "p50": %d, "p99": %d, "errors": %d}}\\n', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Seen:
    """What callers saw of a server."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int

    def record(self) -> dict[str, Any]:
        return asdict(self)


class Load:
    """Sends one body to one address; wrk must be installed (Debian package `wrk`)."""

    def __init__(self, folder: Path, url: str, body: bytes, kind: str = "application/json") -> None:
        self._url, self._script = url, folder / "wrk.lua"
        (folder / "body").write_bytes(body)
        self._script.write_text(_SCRIPT.format(kind=kind, body=folder / "body"))

    def run(self, concurrency: int, seconds: float) -> Seen:
        """So many connections, each asking as soon as it is answered."""
        duration = f"{max(1, round(seconds))}s"
        command = ["wrk", "-t1", f"-c{concurrency}", f"-d{duration}", "--timeout", "10s", "-s", str(self._script)]
        out = subprocess.run([*command, self._url], check=True, capture_output=True, text=True).stdout
        told = json.loads(out.strip().splitlines()[-1])
        return Seen(1e6 * told["requests"] / told["us"], told["p50"] / 1000, told["p99"] / 1000, told["errors"])


class _Line:
    """One connection that is kept: a client as small as can be, for its own time counts."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path
        self._reader: asyncio.StreamReader | None = None

    async def ask(self, body: bytes) -> bool:
        """Whether a good answer came; over a new connection where the server has closed the one that was kept."""
        try:
            return await self._asked(body)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._reader = None
            return await self._asked(body)

    async def _asked(self, body: bytes) -> bool:
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        head = f"POST {self._path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        self._writer.write(head.encode() + b"\r\n\r\n" + body)
        told = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(told.partition(b"content-length:")[2].split()[0])
        content = await self._reader.readexactly(length)
        if b"connection: close" in told:  # HAProxy says so when it is reloaded
            self._writer.close()
            self._reader = None
        return b" 200 " in told[:16] and b"degraded" not in content


def steady(url: str, bodies: Sequence[bytes], rate: float, lines: int = 16) -> Seen:
    """Each body once, at a rate, whether or not the ones before are answered: latency counts from when it was due."""

    async def send() -> tuple[list[float], int]:
        waits, failed, coming, since = [], 0, iter(enumerate(bodies)), time.perf_counter()

        async def work() -> None:
            nonlocal failed
            line = _Line(url)
            for place, body in coming:
                due = since + place / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                failed += not await line.ask(body)
                waits.append(1000 * (time.perf_counter() - due))

        await asyncio.gather(*(work() for _ in range(lines)))
        return waits, failed

    waits, failed = asyncio.run(send())
    late = waits[len(waits) // 10 :]  # the first ones open the connections
    return Seen(rate, float(np.percentile(late, 50)), float(np.percentile(late, 99)), failed)


def below(pid: int) -> list[int]:
    """A process and all that it has started, and they, and so on."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found, left = [], [pid]
    while left:
        found.append(one := left.pop())
        left += children.get(one, [])
    return found


def processor_s(pid: int) -> float:
    """The processor time that a process and all below it have used."""
    ticks = 0
    for one in below(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """What a process and all below it have for themselves, shared pages counted by their share (PSS)."""
    found = 0
    for one in below(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        found += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return found / 1024
