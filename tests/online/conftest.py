"""Stores of every kind."""

from pathlib import Path

import pytest
from redis import Redis


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, of each kind in turn."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/entities.db"
    return empty_redis(request.getfixturevalue("redis_url"))


@pytest.fixture(params=["sqlite", "redis"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store that several processes can use."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/entities.db"
    return empty_redis(request.getfixturevalue("redis_url"))


def empty_redis(url: str) -> str:
    """The same URL, its database emptied."""
    with Redis.from_url(url) as client:
        client.flushdb()
    return url
