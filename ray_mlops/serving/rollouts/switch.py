"""The switch in a replica: champion alone, or champion and challenger with a weight. A setting turns it, no request is dropped.

A challenger that fails, or takes longer than half of the deadline, costs no caller an answer: the champion gives it. A
challenger that nobody watches any more, because the command that drives the rollout has died, is asked no more.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

from ray_mlops.errors import DataError, StorageError
from ray_mlops.serving.edge import refused
from ray_mlops.serving.rollouts import choice
from ray_mlops.serving.rollouts.beside import Beside, Setting
from ray_mlops.serving.rollouts.choice import Served
from ray_mlops.serving.rollouts.tally import CHALLENGER, CHAMPION, LaneCounter, Tally
from ray_mlops.serving.schema import BadRequest

T = TypeVar("T")
UNWATCHED_S = 30.0
_CALLERS_FAULT = (BadRequest, DataError, StorageError)  # or that of the store: of no variant


class Family(Protocol):
    """What a switch needs to know of the models of an endpoint."""

    def load(self, setting: Setting) -> Any:
        """The challenger, ready to answer; raises where it cannot stand in for the champion."""
        ...

    def beside(self, setting: Setting) -> Beside:
        """A side process that compares both on copies of requests."""
        ...


class Stopwatch:
    """The seconds of a request at one variant: of its `own` work where that is told, else of waiting for it.

    Champion and challenger work in threads of their own: how long a request stands in line there, on a busy machine most of
    its time, would say nothing about the challenger once it is alone.
    """

    def __init__(self) -> None:
        self._began, self._own_s = time.perf_counter(), 0.0

    def own(self, work: Callable[[], T]) -> T:
        """The result of work that is the variant's own, with its time."""
        began = time.perf_counter()
        try:
            return work()
        finally:
            self._own_s = time.perf_counter() - began

    @property
    def seconds(self) -> float:
        """What has been measured so far."""
        return self._own_s or time.perf_counter() - self._began


class Picked(NamedTuple):
    """Who is to answer a request: the challenger of the rollout `now`, or the champion. Not `counted` where the caller has chosen."""

    now: "Underway | None"
    challenger: bool
    counted: bool


class Underway:
    """A rollout in this replica, with what has been counted in its present step."""

    def __init__(self, setting: Setting, challenger: Any, beside: Beside, thread: ThreadPoolExecutor) -> None:
        self.setting, self.challenger, self.beside, self.thread = setting, challenger, beside, thread
        self.lanes = {CHAMPION: LaneCounter(), CHALLENGER: LaneCounter()}
        self._stuck: Future[Any] | None = None
        self._earlier = beside.tally

    def tally(self) -> Tally:
        """What has been counted since the step began."""
        lanes = {name: counter.lane() for name, counter in self.lanes.items()}
        return self.beside.since(self._earlier).model_copy(update=lanes)

    async def work(self, work: Callable[[], T], seconds: float) -> T:
        """The result of some work of the challenger, in its own thread; raises `TimeoutError` when it takes longer, and at once
        while earlier work has not come back."""
        if self._stuck and not self._stuck.done():
            raise TimeoutError("the challenger is still busy with an earlier request")
        working = self.thread.submit(work)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(working), seconds)
        except (TimeoutError, asyncio.CancelledError):
            if not working.done():  # what had not begun has been called off
                self._stuck = working
            raise

    async def wait(self, work: Awaitable[T], seconds: float) -> T:
        """The result of some work of the challenger's own threads; raises `TimeoutError` when it takes longer."""
        return await asyncio.wait_for(work, seconds)


class Switch:
    """Holds the rollout of a replica, if there is one, and says who answers a request."""

    def __init__(self, name: str, champion: Served, family: Family | None = None) -> None:
        self._name, self.champion, self._family = name, champion, family
        self._now: Underway | None = None
        self._seen = Setting()
        self._problem = ""
        self._watched = 0.0
        self._turning = asyncio.Lock()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to choose, and nobody who names a variant."""
        return self._now is None and choice.wanted() == choice.ALL

    @property
    def now(self) -> Underway | None:
        """The rollout under way."""
        return self._now

    async def turn(self, setting: Setting) -> None:
        """Take a setting over. What fails is told by `status`: the replica and its champion live on."""
        async with self._turning:
            before, self._problem = self._now, ""
            self._watched = time.monotonic()
            if not setting.digest or (before and before.setting.digest != setting.digest):
                self._now = None
            try:
                if setting.digest:
                    self._now = await self._prepared(setting, before if self._now else None)
            except Exception as error:  # noqa: BLE001 - whatever it is, the champion answers
                self._now, self._problem = None, f"{type(error).__name__}: {error}"
            if before and (self._now is None or self._now.beside is not before.beside):
                before.beside.close()
            self._seen = setting

    async def _prepared(self, setting: Setting, before: Underway | None) -> Underway:
        assert self._family
        if before:
            return Underway(setting, before.challenger, before.beside, before.thread)
        challenger = None
        if setting.mode != "shadow":
            challenger = await asyncio.to_thread(self._family.load, setting)
        beside = await asyncio.to_thread(self._family.beside, setting)
        return Underway(setting, challenger, beside, ThreadPoolExecutor(1, thread_name_prefix="challenger"))

    def status(self) -> dict[str, Any]:
        """What this replica has taken over and counted; asking keeps the challenger in play."""
        self._watched = time.monotonic()
        now = self._now
        problem = self._problem or (now.beside.problem if now else "")
        counted = now.tally().model_dump() if now else None
        ready = now is None or now.beside.ready
        seen = {"rollout": self._seen.rollout, "step": self._seen.step, "digest": self._seen.digest}
        return {**seen, "champion": self.champion.digest, "ready": ready, "problem": problem, "tally": counted}

    def pick(self, key: bytes) -> Picked:
        """Who answers a request with this key; raises `BadRequest` 404 when it names a variant that is not here."""
        now, named = self._now, choice.wanted()
        there = now is not None and now.challenger is not None
        if named == choice.ALL:
            if now is None or not there or not self._watches():
                return Picked(now, challenger=False, counted=True)
            return Picked(now, choice.point(now.setting.rollout, key) < now.setting.share, counted=True)
        if named == CHAMPION or (named == CHALLENGER and there):
            return Picked(now, named == CHALLENGER, counted=False)
        legal = [choice.ALL, CHAMPION, *([CHALLENGER] if there else [])]
        raise refused(404, f"{named[:64]!r} is no variant of {self._name}; it has {', '.join(legal)}", "TargetVariant")

    def _watches(self) -> bool:
        return time.monotonic() - self._watched < UNWATCHED_S

    async def counted(
        self,
        picked: Picked,
        champions: Callable[[Stopwatch], Awaitable[T]],
        challengers: Callable[[Underway, Stopwatch], Awaitable[T]],
    ) -> T:
        """The answer of the one picked, timed and counted; the champion's where the challenger fails."""
        if picked.now and picked.challenger:
            now, setting = picked.now, picked.now.setting
            try:
                answer = await _timed(lambda watch: challengers(now, watch), CHALLENGER, picked)
            except _CALLERS_FAULT:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, it is counted, and the champion can answer
                return await self._champions(champions, picked)
            choice.tell(Served(CHALLENGER, setting.version, setting.digest))
            return answer
        return await self._champions(champions, picked)

    async def _champions(self, champions: Callable[[Stopwatch], Awaitable[T]], picked: Picked) -> T:
        choice.tell(self.champion)
        # A request that the challenger has failed is none of the champion's.
        return await (champions(Stopwatch()) if picked.challenger else _timed(champions, CHAMPION, picked))

    def told(self) -> Mapping[str, str]:
        """The variant, version and digest that answered the request at hand; the champion's before one has."""
        answered = choice.served() or self.champion
        return {"variant": answered.variant, "version": answered.version, "digest": answered.digest}


async def _timed(work: Callable[[Stopwatch], Awaitable[T]], variant: str, picked: Picked) -> T:
    """The result of some work of a variant, counted; what callers do wrong, or the store, is not."""
    watch, failed = Stopwatch(), True
    lane = picked.now.lanes[variant] if picked.now and picked.counted else None
    try:
        answer = await work(watch)
        failed = False
        return answer
    except _CALLERS_FAULT:
        lane = None
        raise
    finally:
        if lane:
            lane.add(watch.seconds, failed=failed)
