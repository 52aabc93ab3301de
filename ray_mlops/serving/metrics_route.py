"""`GET /metrics`: what monitoring has counted, for Prometheus."""

import asyncio

from fastapi import FastAPI
from starlette.responses import Response

from ray_mlops.serving.exposition import CONTENT_TYPE
from ray_mlops.serving.watching import Watcher


def add(app: FastAPI, watcher: Watcher | None, *, endpoint: str, version: str) -> None:
    """Add the route, where anything is counted."""
    if watcher is None or watcher.idle:
        return
    labels = {"endpoint": endpoint, "version": version}

    @app.get("/metrics", include_in_schema=False)
    async def get_metrics() -> Response:
        return Response(await asyncio.to_thread(watcher.exposed, labels), media_type=CONTENT_TYPE)
