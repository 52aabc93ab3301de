"""A caller in a process of its own that asks an endpoint at a steady rate: `python steady.py URL RATE FIRST_ID < lines`.

The first line on its standard input is a list of transactions, sent one after the other, again and again, each time with a new
`transaction_id` and a later `time`. Each further line is answered, once all that was sent before it has been answered or has failed, by the JSON of a `Seen` of what was sent since
the line before. A request is sent when it is due, whatever has become of those before it, on one of the connections that
are kept alive; one that the other side has closed is opened again before a request is sent on it. No request is sent twice.

Failed is whatever is not status 200, with the answer of the model, within 30 s: another status, a degraded answer, a
connection refused or closed before the answer had come.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

TIMEOUT_S = 30
START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def rows() -> list[dict[str, Any]]:
    """Transactions of many entities."""
    from tests.small_model import example, transactions

    table = transactions(500)
    return [example(table, place) for place in range(table.num_rows)]


@dataclass
class Seen:
    """Of the requests of some time: how many were sent, why each that failed did, by the time it was sent, the slowest
    answer, the versions that answered, and the seconds in which requests were sent."""

    sent: int = 0
    failed: list[tuple[float, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    versions: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def outage_s(self) -> float:
        """From the first request that failed to the last one, as they were sent."""
        moments = [moment for moment, _ in self.failed]
        return max(moments) - min(moments) if moments else 0.0


class Steady:
    """The caller, as the one who starts it sees it; asks as long as the context lasts. `within` is a command that runs it
    elsewhere, as in another namespace."""

    def __init__(
        self, url: str, rows: list[dict[str, Any]], *, rate: float, first_id: int, within: Sequence[str] = ()
    ) -> None:
        self._command = [*within, sys.executable, str(Path(__file__)), url, str(rate), str(first_id)]
        self._rows = rows

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say(json.dumps(self._rows))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def seen(self) -> Seen:
        """What became of all that was sent since this was asked last."""
        self._say("")
        assert self._process.stdout
        return Seen(**json.loads(self._process.stdout.readline()))

    def _say(self, line: str) -> None:
        assert self._process.stdin
        print(line, file=self._process.stdin, flush=True)


class _Caller:
    def __init__(self, session: aiohttp.ClientSession, url: str, rows: list[dict[str, Any]], first_id: int) -> None:
        self._session, self._url, self._rows, self._id = session, url, rows, first_id
        self._seen, self._since = Seen(), time.monotonic()
        self._waiting: set[asyncio.Task[None]] = set()

    async def ask(self, rate: float) -> None:
        """Send requests, for ever."""
        start, number = time.monotonic(), 0
        while True:
            await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
            row, when = self._rows[number % len(self._rows)], START + timedelta(milliseconds=10 * number)
            sent = {**row, "transaction_id": self._id + number, "time": when.isoformat()}
            number += 1
            task = asyncio.create_task(self._one(self._seen, sent))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def turn(self) -> Seen:
        """What there was since the last turn."""
        seen, waiting, now = self._seen, set(self._waiting), time.monotonic()
        self._seen, seen.seconds, self._since = Seen(), now - self._since, now
        await asyncio.gather(*waiting)
        return seen

    async def _one(self, seen: Seen, body: dict[str, Any]) -> None:
        sent = time.monotonic()
        seen.sent += 1
        try:
            async with self._session.post(self._url, json=body) as answer:
                text = await answer.text()
                told = json.loads(text) if answer.status == 200 else {"degraded": f"{answer.status} {text[:200]}"}
            failed = str(told["degraded"]) if "degraded" in told else ""
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            failed, told = repr(error), {}
        if failed:
            seen.failed.append((sent, failed))
            return
        seen.slowest_s = max(seen.slowest_s, time.monotonic() - sent)
        seen.versions[told["version"]] = seen.versions.get(told["version"], 0) + 1


async def _run(url: str, rate: str, first_id: str) -> None:
    rows = json.loads(sys.stdin.readline())
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as session:
        caller = _Caller(session, url, rows, int(first_id))
        asking = asyncio.create_task(caller.ask(float(rate)))
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(asdict(await caller.turn())), flush=True)
        asking.cancel()


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
