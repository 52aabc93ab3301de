"""A folder on S3 is had by one process at a time, and that of a dead one by the next."""

import json
import logging
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

from ray_mlops.platform import files, leases, processes

FOLDER = "s3://leases/{}"


@pytest.fixture
def folder(s3_server: dict[str, str], request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.items():
            patch.setenv(name, value)
        patch.setattr(leases, "LOOK_S", 0.02)
        boto3.client("s3").create_bucket(Bucket="leases")
        yield FOLDER.format(request.node.name)


def held_by(folder: str, number: int = 1, **changes: object) -> None:
    """A lease as another process would leave it."""
    lease = {"owner": "o", "host": "elsewhere", "pid": 1, "beat": 0, "over": False, **changes}
    files.write_text(f"{folder}/.lock/{number:06d}", json.dumps(lease).ljust(512))


def test_many_have_it_one_after_the_other(folder: str) -> None:
    inside: list[int] = []

    def work(number: int) -> bool:
        with leases.alone(folder):
            inside.append(number)
            time.sleep(0.01)
            return inside.pop() == number and not inside

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
    assert len(files.listing(f"{folder}/.lock")) == 1


def test_who_waits_is_told_for_whom_and_a_beat_is_a_sign_of_life(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    held_by(folder)
    over = threading.Event()

    def beat() -> None:
        for number in range(1, 12):
            held_by(folder, beat=number)
            time.sleep(0.3)
        over.set()
        held_by(folder, over=True)

    beating = threading.Thread(target=beat)
    beating.start()
    with caplog.at_level(logging.WARNING), leases.alone(folder, silent_s=3):
        assert over.is_set()
    beating.join()
    assert f"process 1 of elsewhere is at work in {folder}: waiting" in caplog.text


def test_what_a_process_elsewhere_left_is_free_after_a_silence(folder: str) -> None:
    held_by(folder, 7)
    with leases.alone(folder, silent_s=0.3):
        assert files.listing(f"{folder}/.lock") == ["000008"]
    with leases.alone(folder):
        assert files.listing(f"{folder}/.lock") == ["000009"]


def test_what_a_dead_process_of_this_machine_left_is_free_at_once(folder: str) -> None:
    gone = multiprocessing.Process()
    gone.start()
    gone.join()
    held_by(folder, host=processes.here(), pid=gone.pid)
    with leases.alone(folder):
        pass


def test_a_process_of_another_container_of_this_machine_is_not_taken_for_dead(folder: str) -> None:
    held_by(folder, host=f"{socket.gethostname()} pid:[1]", pid=(1 << 22) + 1)
    began = time.monotonic()
    with leases.alone(folder, silent_s=0.4):
        assert time.monotonic() - began > 0.4


def test_a_number_that_was_held_meanwhile_is_not_held_again(folder: str) -> None:
    held_by(folder, 3, over=True)
    assert not leases._Held(f"{folder}/.lock", 2, "o").create()
    assert files.listing(f"{folder}/.lock") == ["000003"]


def test_one_that_was_created_although_the_answer_was_lost_is_held(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = files.create_bytes
    monkeypatch.setattr(files, "create_bytes", lambda uri, content: create(uri, content) and False)
    with leases.alone(folder):
        assert files.listing(f"{folder}/.lock") == ["000001"]


def test_its_owner_beats_and_says_when_it_is_over(folder: str) -> None:
    def told() -> dict[str, object]:
        return files.read_json(f"{folder}/.lock/000001")

    with leases.alone(folder, silent_s=0.2):
        first = told()
        assert (first["host"], first["pid"], first["over"]) == (processes.here(), os.getpid(), False)
        end = time.monotonic() + 60
        while told()["beat"] == first["beat"]:
            assert time.monotonic() < end
            time.sleep(0.02)
    assert told()["over"]
