"""The process from which load comes: `python -m ray_mlops.serving.load.client`, driven by lines of JSON.

The first line on its standard input is a `Target`; each further one, `{"rate", "seconds", "seed"}`, is answered by the JSON
of a `Step`. Requests are sent when they are due, whatever has become of those before them. It knows neither Ray nor the
rest of the package's serving, so that nothing but the requests costs it time.
"""

import asyncio
import gc
import resource
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
import uvloop

from ray_mlops.contract import Frozen
from ray_mlops.serving.load.step import Step, due_times, summary

_MOST_LINE = 1 << 28
_DEGRADED = b'"degraded"'


class Target(Frozen):
    """Where requests go and what is in them: `rows` one after the other, their field `key` made a new one each time.

    Where there is no `key` they are sent as they are; `content` is a body that is no JSON, sent as it is.
    """

    url: str
    rows: tuple[Mapping[str, Any], ...] = ()
    content: str = ""  # in Latin-1, which has a letter for each byte
    headers: Mapping[str, str] = {}
    key: str | None = None
    key_text: bool = False
    first_key: int = 0
    timeout_s: float = 10.0
    connections: int = 512


class Client:
    """Sends the requests of a target."""

    def __init__(self, target: Target, session: aiohttp.ClientSession) -> None:
        self._target, self._session = target, session
        self._content = target.content.encode("latin-1")
        self._next = 0

    async def step(self, rate: float, seconds: float, seed: int) -> Step:
        """Send requests at a rate, and wait for their answers. Cut short when they pile up."""
        latencies: list[float] = []
        late: list[float] = []
        errors: Counter[str] = Counter()
        waiting: set[asyncio.Task[None]] = set()
        most = max(2 * self._target.connections, rate)  # more than this many unanswered are not going to be in time
        cpu, start = _cpu(), time.perf_counter()

        async def one(due: float) -> None:
            failed = await self._ask()
            if failed:
                errors[failed] += 1
            else:
                latencies.append(time.perf_counter() - due)

        times = (start + due_times(rate, seconds, seed)).tolist()
        for due in times:
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            late.append(max(0.0, time.perf_counter() - due))
            task = asyncio.create_task(one(due))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            if len(waiting) > most:
                break
        cut_short = len(late) < len(times)
        if cut_short:
            await _abandon(waiting)
        else:
            await asyncio.gather(*waiting)
        took = time.perf_counter() - start
        return summary(
            latencies,
            rate=rate,
            seconds=took,
            sent=len(late),
            answered_per_s=len(latencies) / took,
            errors=dict(errors),
            cut_short=cut_short,
            client_late_ms=1000 * sorted(late)[int(0.99 * len(late))],
            client_cpu=(_cpu() - cpu) / took,
        )

    async def _ask(self) -> str:
        """Send one request; why it failed, if it did."""
        try:
            async with self._session.post(self._target.url, data=self._body()) as answer:
                content = await answer.read()
        except TimeoutError:
            return f"no answer within {self._target.timeout_s:g} s"
        except aiohttp.ClientError as error:
            return type(error).__name__
        if answer.status != 200:
            return f"status {answer.status}"
        return "degraded" if _DEGRADED in content else ""

    def _body(self) -> bytes:
        target, number = self._target, self._next
        self._next += 1
        if not target.rows:
            return self._content
        row = target.rows[number % len(target.rows)]
        if target.key is None:
            return orjson.dumps(row)
        key = target.first_key + number
        return orjson.dumps({**row, target.key: f"load-{key}" if target.key_text else key})


async def _abandon(waiting: set[asyncio.Task[None]]) -> None:
    for task in list(waiting):
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _run() -> None:
    target = Target.model_validate_json(sys.stdin.readline(_MOST_LINE))
    connector = aiohttp.TCPConnector(limit=target.connections, ssl=False)
    timeout = aiohttp.ClientTimeout(total=target.timeout_s)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=target.headers) as session:
        client = Client(target, session)
        gc.disable()
        while line := await asyncio.to_thread(sys.stdin.readline):
            print((await client.step(**orjson.loads(line))).model_dump_json(), flush=True)
            gc.collect()


if __name__ == "__main__":
    uvloop.run(_run())
