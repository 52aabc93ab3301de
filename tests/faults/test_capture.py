"""Replicas and compactions that are killed with -9 under load: every answered request is in the log, and no line twice."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import pytest

from ray_mlops.platform import segments
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.capture import Capturing
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.replica import Settings
from tests.serving.processes import replicas, wait
from tests.small_model import bundle, example, transactions

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(300)]
NAME = "logged"
GOOD = example(transactions())
COMPACTING = """
import sys
from datetime import UTC, datetime, timedelta
from ray_mlops.platform.compaction import compact
while True:
    compact(sys.argv[1], today=datetime.now(UTC).date() + timedelta(days=1))
"""


class Callers:
    """Threads that ask one transaction after the other, and the request ids of all that were answered."""

    def __init__(self, url: str) -> None:
        self.url, self.answered, self.stopped = url, [], threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self.stopped.is_set():
                id = uuid.uuid4().hex
                content = {**GOOD, "transaction_id": int(id[:12], 16)}
                try:
                    answer = client.post(f"{self.url}/score", json=content, headers={"x-request-id": id})
                    if answer.status_code == 200:
                        self.answered.append(id)
                        continue
                except httpx.HTTPError:  # its replica was killed
                    pass
                time.sleep(0.05)  # what starts anew needs the processor

    def more(self, count: int) -> None:
        """Returns when so many more have been answered."""
        target = len(self.answered) + count
        wait(lambda: len(self.answered) >= target)

    def stop(self) -> None:
        self.stopped.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def compacting(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that compacts again and again, until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", COMPACTING, str(folder)])
    try:
        yield process
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it ended by itself"


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    return bundle(tmp_path)


@pytest.fixture
def url(ray_session: None, made: Bundle, tmp_path: Path) -> Iterator[str]:
    settings = Settings(
        name=NAME,
        bundle=made.uri,
        digest=made.digest,
        version="1",
        store=f"sqlite:///{tmp_path}/entities.db",
        capture=f"{tmp_path}/capture",
        capturing=Capturing(segment_s=0.2),
        limits=Limits(),
    )
    yield endpoints.start(settings, Scale(min_replicas=2, max_replicas=2), port=free_port())
    endpoints.undeploy(NAME)


def whole_lines(folder: Path) -> list[bytes]:
    return [line for _, line in segments.lines(str(folder)) if line.endswith(b"\n")]


def test_what_was_answered_is_in_the_log_once(url: str, tmp_path: Path) -> None:
    folder, callers = tmp_path / "capture", Callers(url)
    seen = 0
    try:
        callers.more(50)
        for _ in range(4):
            with compacting(folder):
                before = len(list(folder.glob("*.parquet")))
                wait(lambda before=before: len(list(folder.glob("*.parquet"))) > before)
                if len(replicas(NAME)) == 2:
                    os.kill(replicas(NAME)[0], signal.SIGKILL)
                callers.more(100)
            found = whole_lines(folder)
            assert seen <= len(found), "a reader beside the compaction misses nothing"
            seen = len(found)
    finally:
        callers.stop()
    lines = whole_lines(folder)
    logged = {orjson.loads(line)["request_id"] for line in lines}
    assert set(callers.answered) <= logged and len(callers.answered) > 400
    assert len(set(lines)) == len(lines)
