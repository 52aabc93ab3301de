"""How fast a replica answers, and how much it still has to do: what its number of siblings is decided by."""

import time
from collections import deque
from collections.abc import Callable

import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ray_mlops.serving.access.guard import OPEN, path_of
from ray_mlops.serving.asynchronous.queue import Queue

_WINDOW_S = 10.0
_MOST = 2000
P95, WAITING = "p95_ms", "waiting"


class Pace:
    """Remembers how long the latest answers took; `queue` holds what is asked for later, if anything may be."""

    def __init__(self, queue: Queue | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.queue, self._clock = queue, clock
        self._answers: deque[tuple[float, float]] = deque(maxlen=_MOST)

    def answered(self, seconds: float) -> None:
        """Note how long an answer took."""
        self._answers.append((self._clock(), seconds))

    def stats(self) -> dict[str, float]:
        """The 95th percentile of the last ten seconds in milliseconds, 0 without any answer, and what waits."""
        oldest = self._clock() - _WINDOW_S
        recent = [seconds for at, seconds in list(self._answers) if at >= oldest]
        p95 = 1000 * float(np.percentile(recent, 95, method="higher")) if recent else 0.0
        return {P95: p95, WAITING: float(self.queue.outstanding if self.queue else 0)}


class Paced:
    """Has the time noted that each answer takes once its request is here, but for those that load balancers ask for."""

    def __init__(self, app: ASGIApp, pace: Pace) -> None:
        self._app, self._pace = app, pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or path_of(scope) in OPEN:
            return await self._app(scope, receive, send)
        start = time.perf_counter()

        async def read() -> Message:
            nonlocal start
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                start = time.perf_counter()  # a caller who is slow to send is not helped by more replicas
            return message

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._pace.answered(time.perf_counter() - start)
            await send(message)

        await self._app(scope, read, answer)
