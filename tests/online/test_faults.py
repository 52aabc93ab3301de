"""Replicas that die, replicas side by side, and databases that go away."""

import signal
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from redis import Redis
from redis.client import Monitor

from ray_mlops.errors import StorageError
from ray_mlops.online import open_store
from tests.online.conftest import empty_redis
from tests.online.events import DAY, NOON, card_and_shop, event

ROOT = Path(__file__).resolve().parents[2]
COUNT = "card_count_1d"


def start(url: str, first: int, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.online.writer", url, str(first), str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def acknowledged(output: str) -> dict[int, int]:
    """Id and count of each whole line."""
    lines = output[: output.rfind("\n") + 1].splitlines()
    return {int(id): int(count) for id, count in map(str.split, lines)}


def test_a_killed_replica_loses_nothing_it_acknowledged(shared_url: str) -> None:
    with start(shared_url, 0, 100_000) as writer:
        assert writer.stdout is not None
        output = "".join(writer.stdout.readline() for _ in range(300))
        writer.send_signal(signal.SIGKILL)
        output += writer.stdout.read()
    seen = acknowledged(output)
    store = open_store(shared_url, card_and_shop())
    # At most one more may be there: recorded, and killed before it could tell.
    held = store.peek(event(10**6, NOON + 10**6))[COUNT] - 1
    assert held - len(seen) in (0, 1)
    assert [store.observe(event(id, NOON + id))[COUNT] for id in seen] == list(seen.values())
    assert store.stats().duplicates == len(seen)
    store.close()


def test_replicas_side_by_side_see_one_history(shared_url: str) -> None:
    each = 150
    writers = [start(shared_url, first, each) for first in (0, each, 2 * each)]
    seen = [acknowledged(writer.communicate()[0]) for writer in writers]
    assert [len(counts) for counts in seen] == [each] * 3
    store = open_store(shared_url, card_and_shop())
    assert store.peek(event(10**6, NOON + 10**6))[COUNT] == 3 * each + 1
    # Each replica wrote in order: what it saw of itself grows by one, what it saw of others never shrinks.
    for counts in seen:
        values = list(counts.values())
        assert all(later > earlier for earlier, later in pairwise(values))
    assert all(count <= id + 1 for counts in seen for id, count in counts.items())
    stats = store.stats()
    assert (stats.events, stats.duplicates, stats.records) == (3 * each, 0, 3 * each)
    store.close()


def test_the_same_events_through_several_replicas_count_once(shared_url: str) -> None:
    writers = [start(shared_url, 0, 200) for _ in range(3)]
    seen = [acknowledged(writer.communicate()[0]) for writer in writers]
    assert seen[0] == seen[1] == seen[2] == {id: id + 1 for id in range(200)}


def test_replicas_catch_up_with_one_another(shared_url: str) -> None:
    """Through snapshots, which one replica writes while the other holds the state."""
    one, two = (open_store(shared_url, card_and_shop()) for _ in range(2))
    for id in range(600):
        store = (one, two)[id // 7 % 2]
        assert store.observe(event(id, NOON + id))[COUNT] == id + 1
        store.label(id, 1.0, NOON + DAY)
    probe = event(10**6, NOON + 8 * DAY - 1)
    assert one.peek(probe) == two.peek(probe)
    assert one.peek(probe)["shop_count_1d"] == 600.0
    one.close()
    two.close()


def test_a_failed_batch_leaves_the_live_state_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "entities.db"
    store = open_store(f"sqlite:///{path}", card_and_shop())
    store.observe(event(1, NOON))
    with sqlite3.connect(path) as other:
        (records,) = other.execute("SELECT name FROM sqlite_master WHERE name LIKE 'records_%'").fetchone()
        refusal = "SELECT RAISE(ABORT, 'the disk is full')"
        other.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON {records} WHEN new.id = 3 BEGIN {refusal}; END")
    with pytest.raises(StorageError, match="the disk is full"):
        store.observe_many([event(2, NOON + 1), event(3, NOON + 2)])
    assert store.observe(event(4, NOON + 3))[COUNT] == 2.0
    assert (store.stats().events, store.stats().records) == (2, 2)
    store.close()


def test_sums_too_large_for_a_double_fail_nothing(shared_url: str) -> None:
    store = open_store(shared_url, card_and_shop())
    huge = [store.observe(event(n, NOON + n, amount=1.7e308)) for n in range(3)]
    assert huge[-1]["card_mean_amount_1d"] == float("inf")
    store.close()


def test_redis_answers_a_retry_whose_answer_was_lost(redis_url: str) -> None:
    url = empty_redis(redis_url)
    first = open_store(url, card_and_shop())
    answer = first.observe(event(2, NOON + 2))
    first.observe(event(1, NOON + 1))
    first.close()
    with Redis.from_url(url) as client:
        (record,) = client.keys("*event:2")
        assert client.hdel(record, "a") == 1
    second = open_store(url, card_and_shop())
    assert second.observe(event(2, NOON + 2)) == answer
    assert second.peek(event(3, NOON + 3))[COUNT] == 3.0
    second.close()


def test_a_request_waits_for_redis_once(redis_url: str) -> None:
    """All that the server is asked for the one or many events of a request: a script, and to keep the answers, which
    nobody waits for."""
    url = empty_redis(redis_url)
    store = open_store(url, card_and_shop())
    with Redis.from_url(url) as client:
        for first, count in ((1, 1), (2, 28)):
            with client.monitor() as monitor:
                store.observe_many([event(n, NOON + n) for n in range(first, first + count)])
                assert asked(client, monitor, event=first + count - 1) == [
                    "EVALSHA",
                    *["CLIENT REPLY", "HSETNX"] * count,
                ]
    store.close()


def asked(client: Redis, monitor: Monitor, *, event: int) -> list[str]:
    """The commands of everybody else until the answer to an event is kept, and after; not what scripts do inside."""
    (record,), own = client.keys(f"*event:{event}"), client.client_info()["addr"]
    deadline = time.monotonic() + 30
    while not client.hexists(record, "a"):
        assert time.monotonic() < deadline, "the answer was never kept"
        time.sleep(0.01)
    client.echo("end")
    names: list[str] = []
    for seen in monitor.listen():
        words = seen["command"].split(" ")
        if words[:2] == ["ECHO", "end"]:
            return names
        if seen["client_type"] != "lua" and f"{seen['client_address']}:{seen['client_port']}" != own:
            names.append(" ".join(words[:2]) if words[0] == "CLIENT" else words[0])
    raise AssertionError("the monitor ended")


def test_redis_connections_and_scripts_may_go_away(redis_url: str) -> None:
    url = empty_redis(redis_url)
    store = open_store(url, card_and_shop())
    assert store.observe(event(1, NOON))[COUNT] == 1.0
    with Redis.from_url(url) as client:
        client.script_flush()
        assert store.observe(event(2, NOON + 1))[COUNT] == 2.0
        client.client_kill_filter(_type="normal", skipme=True)
        assert store.observe(event(3, NOON + 2))[COUNT] == 3.0
        client.flushdb()
    assert store.observe(event(4, NOON + 3))[COUNT] == 1.0
    store.close()


def test_a_database_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="entity store .*file/entities.db"):
        open_store(f"sqlite:///{tmp_path}/file/entities.db", card_and_shop())
    (tmp_path / "text.db").write_text("this is no database, but long enough to be looked at" * 100)
    with pytest.raises(StorageError, match="not a database"):
        open_store(f"sqlite:///{tmp_path}/text.db", card_and_shop())
    with pytest.raises(StorageError, match="entity store redis 127.0.0.1:1/0"):
        open_store("redis://user:secret@127.0.0.1:1/0", card_and_shop())
