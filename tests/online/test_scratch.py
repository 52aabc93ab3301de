"""Scratch stores are empty, apart from live state, and leave nothing."""

from pathlib import Path

import pytest
from redis import Redis

from ray_mlops.online import open_store
from ray_mlops.online.scratch import scratch_store
from tests.online.conftest import empty_redis
from tests.online.events import NOON, card_and_shop, event


def test_a_scratch_store_never_meets_live_state(store_url: str) -> None:
    live = open_store(store_url, card_and_shop())
    live.observe(event(1, NOON))
    with scratch_store(store_url, card_and_shop()) as scratch:
        assert scratch.observe(event(2, NOON + 1))["card_count_1d"] == 1.0
    assert live.peek(event(3, NOON + 2))["card_count_1d"] == 2.0
    live.close()


def test_nothing_is_left_behind_on_redis_not_even_by_a_failure(redis_url: str) -> None:
    url = empty_redis(redis_url)
    with Redis.from_url(url) as client:
        with pytest.raises(ValueError, match="on the way"), scratch_store(url, card_and_shop()) as scratch:
            scratch.observe_many([event(n, NOON + n) for n in range(50)])
            assert client.dbsize() > 50
            raise ValueError("on the way")
        assert client.dbsize() == 0


def test_the_file_of_the_url_is_not_touched(tmp_path: Path) -> None:
    with scratch_store(f"sqlite:///{tmp_path}/entities.db?synchronous=full", card_and_shop()) as scratch:
        scratch.observe(event(1, NOON))
    assert list(tmp_path.iterdir()) == []
