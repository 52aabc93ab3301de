"""What each hop of one request costs, in microseconds: from the outside in, each with what it has around it, and without."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import serving_servers
import uvloop
from serving_load import Load
from starlette.types import Message

from ray_mlops.fraud.predictor import Predictor
from ray_mlops.platform import runtime
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving import bypass
from ray_mlops.serving.access.keyring import Access, KeyRing
from ray_mlops.serving.app import build_app
from ray_mlops.serving.appender import Appender
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.direct import Direct
from ray_mlops.serving.layers import Settled
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.schema import transaction_schema
from ray_mlops.serving.scoring import Scorer

COUNT = 3000
SECONDS = 3.0
LIMITS = Limits(reasons=0)


def measure(bundle: Bundle, body: bytes, folder: Path) -> dict[str, float]:
    """Microseconds by hop; prints the table."""
    place = folder / "hops"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # Serve's replicas run on it too
        within = runner.run(_inside(Predictor.load(bundle), body, place))
    with serving_servers.ours(place / "served", bundle, root=place / "home") as server:
        around = 1e6 / Load(folder, server.url, body).run(1, SECONDS).requests_per_s
        own = _replica(server.url)
        direct = 1e6 / Load(folder, own, body).run(1, SECONDS).requests_per_s if own else around
    whole = sum(within.values())
    hops = {"ingress (HAProxy)": around - direct, "HTTP and Serve in the replica, the client": direct - whole, **within}
    print(f"{'hop, one caller':50} us")
    for name, cost in hops.items():
        print(f"{name:50} {cost:6.0f}")
    print(f"{'together':50} {sum(hops.values()):6.0f}", flush=True)
    return {name: round(cost, 1) for name, cost in hops.items()}


async def _inside(predictor: Predictor, body: bytes, folder: Path) -> dict[str, float]:
    capture, log = Capture(str(folder / "capture"), "v1"), Appender(str(folder / "requests"), "v1")
    scorer = Scorer(predictor, None, capture, version="1", digest="d")
    known: dict[str, Any] = {"name": "fraud", "version": "1", "digest": "d", "example": None}

    def app(keep: tuple[type, ...] | None = None) -> Any:
        built = build_app(scorer, known, LIMITS, health={}, ring=KeyRing(Access()), log=log)
        if keep is not None:
            built.user_middleware = [one for one in built.user_middleware if one.cls in keep]
        return bypass.lay(built, "fraud", "/score", bypass.Room())

    schema = transaction_schema(predictor.definition, most=LIMITS.max_transactions)
    events, _ = schema.read(body)
    row = predictor.definition.vector(events[0], {}).reshape(1, -1)
    read = _each(lambda: schema.read(body))
    vector = _each(lambda: np.array([predictor.definition.vector(events[0], {})], np.float32))
    score = _each(lambda: predictor.score(row))
    model = _each(lambda: predictor.model.predict(row))
    answered = _each(lambda: scorer.score(events, reasons=0, request_id="r"))
    bare = await _asked(app((Direct,)), body)
    settled = await _asked(app((Direct, Settled)), body)
    whole = await _asked(app(), body)
    return {
        "request log, keys, bound, ids": whole - settled,
        "waiting for the capture log": settled - bare,
        "direct route: body, limits, answer": bare - answered - read,
        "validation": read,
        "answer and its line of capture": answered - score - vector,
        "features to a row": vector,
        "decision, calibration": score - model,
        "model": model,
    }


def _each(work: Callable[[], Any]) -> float:
    work()
    since = time.perf_counter()
    for _ in range(COUNT):
        work()
    return 1e6 * (time.perf_counter() - since) / COUNT


async def _asked(app: Callable[..., Awaitable[None]], body: bytes) -> float:
    headers = [(b"host", b"here"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope: Mapping[str, Any] = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/fraud/score", "root_path": "",
        "raw_path": b"/fraud/score", "query_string": b"", "server": ("here", 80), "client": ("here", 1),
        "state": {"request_id": "r"},
    }  # fmt: skip

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        assert message.get("status", 200) == 200

    await app({**scope, "headers": headers}, receive, send)
    since = time.perf_counter()
    for _ in range(COUNT):
        await app({**scope, "headers": [*headers]}, receive, send)
    return 1e6 * (time.perf_counter() - since) / COUNT


def _replica(url: str) -> str | None:
    """Where the replica itself listens, as the ingress was told; None without an ingress."""
    folder = runtime.ingress_folder()
    if folder is None:
        return None
    (config,) = folder.glob("**/haproxy.cfg")
    found = re.findall(r"server SERVE_REPLICA\S* (\S+) check", config.read_text())
    return re.sub(r"//[^/]+", f"//{found[0]}", url) if found else None
