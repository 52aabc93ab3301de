"""The queue before the disk: bounded, never in anybody's way, and in segments that tell when they are closed."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_mlops.serving.appender import Appender, Queueing
from ray_mlops.serving.capture import Capture, Capturing


def all_lines(folder: Path) -> list[str]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


class Stuck(Appender):
    """An appender whose disk does not answer until it is told to."""

    def __init__(self, folder: str, queueing: Queueing) -> None:
        self.moves = threading.Event()
        super().__init__(folder, "v1", queueing)

    def _append(self, lines: list[bytes]) -> None:
        self.moves.wait(60)
        super()._append(lines)


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Stuck]:
    made = Stuck(str(tmp_path), Queueing(max_queued=10))
    yield made
    made.moves.set()
    made.close()


def test_a_disk_that_is_stuck_holds_up_one_answer_and_what_finds_no_room_is_counted(
    stuck: Stuck, tmp_path: Path
) -> None:
    async def answers() -> None:
        for number in range(100):
            stuck.write([b"%d\n" % number])
            await stuck.settled(0.05)

    asyncio.run(answers())
    assert stuck.late == 100 and stuck.written == 0
    assert 100 - 10 - 1 <= stuck.dropped <= 100 - 10  # the first may have been taken out of the queue
    stuck.moves.set()
    assert stuck.flush(30)
    kept = all_lines(tmp_path)
    assert stuck.written == len(kept) == 100 - stuck.dropped and kept == sorted(kept, key=int)
    asyncio.run(asyncio.wait_for(stuck.settled(30), 30))
    stuck.write([b"last\n"])
    asyncio.run(stuck.settled(30))
    assert all_lines(tmp_path)[-1] == "last" and stuck.late == 100


def test_segments_are_closed_by_size_and_by_age_and_hold_every_line_once(tmp_path: Path) -> None:
    for name, queueing in (("size", Queueing(segment_bytes=100)), ("age", Queueing(segment_s=1e-9))):
        log = Appender(str(tmp_path / name), "v1", queueing)
        for number in range(50):
            log.write([b"%020d\n" % number])
            assert log.flush()
        log.close()
        assert list(map(int, all_lines(tmp_path / name))) == list(range(50))
        assert len(list((tmp_path / name).iterdir())) >= 10


def test_a_segment_is_locked_as_long_as_its_writer_lives(tmp_path: Path) -> None:
    code = f"""if True:
        from ray_mlops.serving.appender import Appender
        log = Appender({str(tmp_path)!r}, "v1")
        log.write([b"1\\n"])
        print(log.flush(), flush=True)
        input()
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as writer:  # pyright: ignore[reportCallIssue, reportArgumentType]
        assert writer.stdout is not None and writer.stdout.readline() == b"True\n"
        (path,) = tmp_path.glob("*.jsonl")
        file = os.open(path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        writer.send_signal(signal.SIGKILL)
    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(file)


def test_what_comes_after_the_end_is_dropped(tmp_path: Path) -> None:
    log = Appender(str(tmp_path), "v1")
    log.close()
    log.write([b"1\n"])
    assert log.dropped == 1 and log.flush(0.01)


def test_a_sample_is_of_transactions_and_labels_are_always_kept(tmp_path: Path) -> None:
    kept = []
    for place in ("one", "other"):
        capture = Capture(str(tmp_path / place), "v1", Capturing(sample=0.3))
        capture.write({"id": number, "request_id": place} for number in range(2000))
        capture.write({"kind": "label", "id": number, "label": 1} for number in range(50))
        capture.close()
        kept.append(capture.path.read_text().count('"request_id"'))
        assert capture.path.read_text().count('"kind"') == 50
        assert capture.counts() == {"written": kept[-1] + 50, "dropped": 0, "skipped": 2000 - kept[-1], "late": 0}
    assert kept[0] == kept[1] and 500 < kept[0] < 700
    nothing = Capture(str(tmp_path / "none"), "v1", Capturing(sample=0.0))
    nothing.write([{"request_id": "a"}])
    nothing.close()
    assert nothing.path.read_bytes() == b""
