"""The capture log: whole lines, at once, from several writers, and never an error for the caller."""

import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ray_mlops.serving.capture import Capture


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def test_a_line_is_on_disk_when_it_has_been_flushed(tmp_path: Path) -> None:
    capture = Capture(str(tmp_path / "a" / "b"), "v1")
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    capture.write([{"id": 1, "time": moment, "features": {"amount": 1.5, "unknown": float("nan"), "n": np.float32(2)}}])
    assert capture.flush()
    expected = {"id": 1, "time": "2026-01-01T12:00:00Z", "features": {"amount": 1.5, "unknown": None, "n": 2.0}}
    assert lines(tmp_path / "a" / "b") == [expected]
    capture.write([{"id": 2}, {"id": 3}])
    assert capture.flush()
    assert [line["id"] for line in lines(tmp_path / "a" / "b")] == [1, 2, 3]
    capture.close()


def test_replicas_write_files_of_their_own_which_only_the_owner_reads(tmp_path: Path) -> None:
    first, second = Capture(str(tmp_path / "log"), "v1"), Capture(str(tmp_path / "log"), "v1")
    assert first.path != second.path and first.path.name.startswith("v1-")
    assert first.path.stat().st_mode & 0o077 == 0 and (tmp_path / "log").stat().st_mode & 0o077 == 0
    first.close()
    second.close()


def test_lines_of_many_threads_do_not_mix(tmp_path: Path) -> None:
    capture = Capture(str(tmp_path), "v1")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: capture.write([{"id": number, "text": "x" * 5000}]), range(200)))
    capture.close()
    assert sorted(line["id"] for line in lines(tmp_path)) == list(range(200))


def test_a_killed_writer_loses_nothing_that_was_settled(tmp_path: Path) -> None:
    code = f"""if True:
        import asyncio, os, signal
        from ray_mlops.serving.capture import Capture
        capture = Capture({str(tmp_path / "log")!r}, "v1")

        async def answer(number):
            capture.write([{{"id": number}}])
            await capture.settled(30)
            print(number, flush=True)

        async def answers():
            await asyncio.gather(*map(answer, range(100)))

        asyncio.run(answers())
        capture.write([{{"id": 100}}])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    found = subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.PIPE, text=True)
    assert found.returncode == -signal.SIGKILL and len(found.stdout.split()) == 100
    assert [line["id"] for line in lines(tmp_path / "log")][:100] == list(range(100))


def test_what_cannot_be_written_is_counted_and_fails_nobody(tmp_path: Path) -> None:
    capture = Capture(str(tmp_path), "v1")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # the disk is full after 4 KiB
        for number in range(10):
            capture.write([{"id": number, "text": "x" * 1000}])
        assert capture.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handled)
    assert (capture.counts()["written"], capture.counts()["dropped"]) == (4, 6)
    assert os.path.getsize(capture.path) == 4096
    capture.write([{"id": 10}])
    capture.close()
    kept = capture.path.read_text().splitlines()
    assert [json.loads(line)["id"] for line in kept[:4]] == [0, 1, 2, 3]
