"""Requests that wait: kept once, worked by one at a time, ended exactly once, whoever dies on the way."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ray_mlops.errors import StorageError
from ray_mlops.platform import files
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.asynchronous.queue import Queue
from ray_mlops.serving.asynchronous.records import Invocation, Lease

SHORT = Asynchronous(lease_s=0.05, max_attempts=2)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def an(name: str, **fields: Any) -> Invocation:
    return Invocation.model_validate({"id": name, "digest": "d", "submitted": datetime.now(UTC), **fields})


def taken(queue: Queue) -> Lease:
    lease = queue.claim()
    assert lease
    return lease


def over(lease: Lease) -> None:
    while datetime.now(UTC) <= lease.until:
        time.sleep(0.005)


def test_of_several_who_create_a_file_one_does(place: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: files.create_bytes(f"{place}/one", b"%d" % n), range(8)))
    assert made.count(True) == 1
    assert files.read_bytes(f"{place}/one") == b"%d" % made.index(True)
    assert files.listing(place) == ["one"]
    assert files.find_bytes(f"{place}/none") is None and files.find_bytes(f"{place}/one", 0) == b""


def test_what_cannot_be_created_exclusively_is_refused() -> None:
    with pytest.raises(StorageError, match="only a folder and s3"):
        files.create_bytes("gs://bucket/one", b"")


def test_a_request_is_kept_once_and_ends_once(place: str) -> None:
    queue, other = Queue(place, Asynchronous()), Queue(place, Asynchronous())
    assert queue.submit(an("a"), b"body\nof two lines").state == "pending"
    assert other.submit(an("a", digest="another"), b"").digest == "d"
    lease = taken(queue)
    assert other.claim() is None and other.state("a").state == "running"  # pyright: ignore
    assert other.read("a") == (an("a", submitted=queue.read("a")[0].submitted), b"body\nof two lines")  # pyright: ignore
    assert queue.settle(an("a"), lease, b"first", content_type="text/csv")
    assert not other.settle(an("a"), lease, b"second")
    outcome, answer = other.result("a")  # pyright: ignore
    assert (answer, outcome.content_type, outcome.attempts) == (b"first", "text/csv", 1)
    assert queue.state("a").state == "done" and queue.claim() is None  # pyright: ignore
    assert queue.submit(an("a"), b"body").state == "done"
    assert files.listing(f"{place}/requests") == [] == files.listing(f"{place}/leases")


def test_a_request_whose_replica_died_goes_to_another_and_then_is_given_up(place: str) -> None:
    queue, other = Queue(place, SHORT), Queue(place, SHORT)
    queue.submit(an("a"), b"")
    over(taken(queue))
    second = taken(other)
    assert second.attempt == 2 and queue.claim() is None
    over(second)
    assert queue.claim() is None
    state = queue.state("a")
    assert state and state.state == "failed" and state.attempts == 2
    assert "given up after 2 attempts: replica" in state.reason and other.replica in state.reason
    assert not other.settle(an("a"), second, b"too late")
    assert queue.result("a")[1] == b""  # pyright: ignore


def test_a_lease_that_is_renewed_is_kept_and_one_that_is_released_is_free(place: str) -> None:
    queue, other = Queue(place, SHORT), Queue(place, SHORT)
    queue.submit(an("a"), b"")
    lease = taken(queue)
    Queue(place, Asynchronous()).renew(lease)
    over(lease)
    assert other.claim() is None
    queue.release(lease, "no memory", wait_s=60)
    assert other.claim() is None and other.state("a").reason == "no memory"  # pyright: ignore
    queue.release(lease, "no memory")
    second = taken(other)
    other.hand_back(second)
    assert (second.attempt, taken(queue).attempt) == (2, 2)


@pytest.mark.parametrize("lease_s", [30, 3600])
def test_a_lease_by_a_clock_that_is_a_little_ahead_is_one(tmp_path: Path, lease_s: float) -> None:
    queue = Queue(str(tmp_path), Asynchronous(lease_s=lease_s))
    queue.submit(an("a"), b"")
    lease = taken(queue)
    queue._write(lease.model_copy(update={"until": lease.until + timedelta(seconds=20)}))
    assert queue.state("a").state == "running" and queue.claim() is None  # pyright: ignore


def test_a_lease_from_before_a_clock_was_put_back_is_over(tmp_path: Path) -> None:
    queue = Queue(str(tmp_path), Asynchronous())
    queue.submit(an("a"), b"")
    lease = taken(queue)
    queue._write(lease.model_copy(update={"until": lease.until + timedelta(hours=1)}))
    assert queue.state("a").state == "pending" and taken(queue).attempt == 2  # pyright: ignore


def test_whatever_a_replica_left_half_ended_the_next_one_ends(tmp_path: Path) -> None:
    queue, source = Queue(str(tmp_path), Asynchronous()), tmp_path / "inputs" / "a.csv"
    queue.submit(an("a", input=str(source)), b"")
    request, lease = (tmp_path / "requests" / "a").read_bytes(), taken(queue)
    held = (tmp_path / "leases" / "a~1").read_bytes()
    queue.settle(an("a"), lease, b"answer")
    output, failure = queue.locations("a")
    (tmp_path / "requests" / "a").write_bytes(request)  # as if it had died before it came to the rest
    (tmp_path / "leases" / "a~1").write_bytes(held)
    Path(output).unlink()
    assert Queue(str(tmp_path), Asynchronous()).claim() is None
    assert Path(output).read_bytes() == b"answer" and not Path(failure).exists()
    assert not list((tmp_path / "requests").iterdir()) and not list((tmp_path / "leases").iterdir())


def test_many_replicas_end_every_request_once(tmp_path: Path) -> None:
    for number in range(40):
        Queue(str(tmp_path), SHORT).submit(an(f"r{number}"), b"")
    ended: list[tuple[str, bool]] = []
    barrier = threading.Barrier(6)

    def work(replica: int) -> None:
        queue = Queue(str(tmp_path), Asynchronous(lease_s=0.02, max_attempts=100))
        barrier.wait()
        while files.listing(f"{tmp_path}/requests"):
            if lease := queue.claim():
                ended.append((lease.id, queue.settle(an(lease.id), lease, b"%d" % replica)))

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert sorted(name for name, first in ended if first) == sorted(f"r{number}" for number in range(40))


def test_what_is_old_goes_and_what_was_never_answered_has_failed(tmp_path: Path) -> None:
    queue = Queue(str(tmp_path), Asynchronous(keep_s=0.05))
    queue.submit(an("done"), b"")
    queue.settle(an("done"), taken(queue), b"")
    queue.submit(an("never"), b"")
    time.sleep(0.1)
    queue.clean()
    assert queue.state("done") is None
    state = queue.state("never")
    assert state and state.state == "failed" and "not answered within" in state.reason
    time.sleep(0.1)
    queue.clean()
    assert queue.state("never") is None


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("{root}/inputs/a.csv", True),
        ("file://{root}/inputs/deep/a.csv", True),
        ("s3://shared/in/a.csv", True),
        ("{root}/requests/a", False),
        ("{root}/inputs/../requests/a", False),
        ("{root}/inputs/link", False),
        ("/etc/passwd", False),
        ("inputs/a.csv", False),
        ("s3://shared/in/../a.csv", False),
        ("s3://shared/other/a.csv", False),
        ("s3://shared/in/a.csv?endpoint_override=127.0.0.1:80", False),
        ("http://127.0.0.1/a.csv", False),
        ("", False),
    ],
)
def test_only_what_is_below_an_input_folder_may_be_read(tmp_path: Path, uri: str, allowed: bool) -> None:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "link").symlink_to("/etc/passwd")
    queue = Queue(str(tmp_path), Asynchronous(inputs=("s3://shared/in",)))
    assert queue.allows(uri.format(root=tmp_path)) is allowed
