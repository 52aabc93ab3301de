"""What goes past Serve is bounded, queued, counted and named as Serve would have it; all else goes to Serve."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ray_mlops.serving import bypass, direct, edge
from ray_mlops.serving.bypass import Bypass, Room, Way
from ray_mlops.serving.layers import Logged

ROOM = Room(ongoing=2, queued=3)


class Replica:
    """An application that holds what it is asked until it is let go, behind the bypass, and what Serve would answer."""

    def __init__(self) -> None:
        self.held, self.most, self.go = 0, 0, asyncio.Event()
        app = FastAPI()

        @app.post("/score")
        async def score(request: Request) -> Response:
            self.held += 1
            self.most = max(self.most, self.held)
            await self.go.wait()
            self.held -= 1
            return edge.answer(200, {"request_id": edge.request_id(request), "root_path": request.scope["root_path"]})

        direct.shorten(app, "/score")
        app.add_middleware(Logged, log=None)
        self.way = bypass.lay(app, "shop", "/score", ROOM)
        assert [one.cls for one in bypass.middlewares()] == [Bypass]
        self.server = Bypass(PlainTextResponse("from Serve"))


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    bypass._ways.clear()


def asked(work: Callable[[Replica, httpx.AsyncClient], Any]) -> Any:
    async def run() -> Any:
        replica = Replica()
        transport = httpx.ASGITransport(replica.server)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await work(replica, client)

    return asyncio.run(run())


def test_only_the_route_that_was_laid_goes_past_serve() -> None:
    async def work(replica: Replica, client: httpx.AsyncClient) -> list[str]:
        replica.go.set()
        paths = ["/shop/score", "/shop/score/", "/shop/labels", "/score", "/shop"]
        answers = [(await client.post(path)).text for path in paths] + [(await client.get("/shop/score")).text]
        return ["Serve" if answer == "from Serve" else "past" for answer in answers]

    assert asked(work) == ["past", *["Serve"] * 5]


@pytest.mark.parametrize("given", ["", "mine-1"])
def test_a_request_has_one_id_and_it_is_told(given: str) -> None:
    async def work(replica: Replica, client: httpx.AsyncClient) -> httpx.Response:
        replica.go.set()
        return await client.post("/shop/score", headers={"x-request-id": given} if given else {})

    answer = asked(work)
    assert answer.headers.get_list("x-request-id") == [answer.json()["request_id"]]
    assert answer.json()["root_path"] == "/shop" and (not given or answer.json()["request_id"] == given)


def test_no_more_at_once_than_there_is_room_for_and_a_bounded_queue() -> None:
    async def work(replica: Replica, client: httpx.AsyncClient) -> list[httpx.Response]:
        most = ROOM.ongoing + ROOM.queued
        waiting = [asyncio.create_task(client.post("/shop/score")) for _ in range(most)]
        while replica.way.count < most:
            await asyncio.sleep(0)
        refused = await client.post("/shop/score")
        assert (replica.held, replica.way.count) == (ROOM.ongoing, most)
        replica.go.set()
        answers = await asyncio.gather(*waiting)
        assert replica.way.count == 0 and replica.most == ROOM.ongoing
        return [*answers, refused, await client.post("/shop/score")]

    answers = asked(work)
    assert [answer.status_code for answer in answers] == [200] * 5 + [503, 200]
    assert answers[5].headers["retry-after"] == "1" and "are waiting" in answers[5].json()["error"]["message"]


def test_what_breaks_off_frees_its_room() -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("broke off")

    async def run() -> None:
        way = Way(broken, "/shop", Room(ongoing=1, queued=1))
        for _ in range(3):
            with pytest.raises(RuntimeError, match="broke off"):
                await way({"type": "http"}, broken, broken)  # pyright: ignore[reportArgumentType]
        assert way.count == 0

    asyncio.run(run())


def test_other_kinds_of_connections_go_to_serve() -> None:
    seen = []

    async def serve(scope: Any, *_: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(Bypass(serve)({"type": "lifespan"}, serve, serve))  # pyright: ignore[reportArgumentType]
    assert seen == ["lifespan"]
