"""What no window can reach any more is dropped."""

from redis import Redis

from ray_mlops.fraud.windows import Window
from ray_mlops.online import EntityStore, open_store
from tests.online.conftest import empty_redis
from tests.online.events import DAY, NOON, definition, event

SHORT = definition(Window(entity="card", value="amount", spans=(1.0,), aggregates=("sum",)))


def test_old_rows_idle_entities_and_records_go(store_url: str) -> None:
    """Of 83 days two can matter, and the sweep is at most two behind: of an event an hour 96, and a few."""
    store = open_store(store_url, SHORT)
    for id in range(2000):
        # One card all the time, and every hour a new one that never comes back.
        store.observe_many(
            [event(2 * id, NOON + id * DAY // 24), event(2 * id + 1, NOON + id * DAY // 24, card=10 + id)]
        )
        if id > 200 and id % 50 == 0:
            check_size(store, store_url)
    assert store.stats().events == 4000
    assert store.peek(event(10**6, NOON + 1999 * DAY // 24))["card_sum_amount_1d"] == 250.0
    store.close()


def check_size(store: EntityStore, url: str) -> None:
    if url.startswith("redis"):  # idle keys go by the clock of the server: see below
        with Redis.from_url(url) as client:
            (busy,) = client.keys("*:log:0:1")
            assert client.strlen(busy) < 9_000
        return
    stats = store.stats()
    assert stats.entities < 140
    assert stats.records < 380
    assert stats.bytes < 12_000


def test_one_wrong_date_drops_nothing(store_url: str) -> None:
    store = open_store(store_url, SHORT)
    for id in range(200):
        store.observe(event(id, NOON + id, card=id))
    store.observe_many([event(1000, NOON + 50_000 * DAY, card=1000), event(1001, NOON + 50_000 * DAY, card=1)])
    for id in range(200):
        assert store.observe(event(2000 + id, NOON + 1000, card=id))["card_sum_amount_1d"] == 20.0
    store.close()


def test_redis_keys_expire(redis_url: str) -> None:
    url = empty_redis(redis_url)
    store = open_store(url, SHORT)
    store.observe(event(1, NOON))
    store.label(77, 1.0, NOON)
    with Redis.from_url(url, decode_responses=True) as client:
        ages = {key.split("}:")[1]: client.pttl(key) / 86_400_000 for key in client.keys("*")}
    store.close()
    assert 2.9 < ages["log:0:1"] <= 3.0
    assert 1.9 < ages["event:1"] <= 2.0
    assert 1.9 < ages["event:77"] <= 2.0


def test_a_heavy_entity_stays_small_with_a_resolution() -> None:
    """A shop with an event every 40 seconds: of two days it holds 50 sums, not 4,320 rows of 24 bytes."""
    made = definition(Window(entity="shop", value="amount", spans=(2.0,), aggregates=("mean",), resolution=3600.0))
    store = open_store("memory://", made)
    for start in range(0, 8_000, 1000):
        store.observe_many([event(id, NOON + id * 40_000_000) for id in range(start, start + 1000)])
    assert store.stats().bytes < 20_000
