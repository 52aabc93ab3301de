import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ray_mlops.monitoring.attempts import Attempt, Attempts, Ongoing, cooled_down
from ray_mlops.monitoring.causes import CauseReport

REPORT = CauseReport(
    id="fraud-d-3", endpoint="fraud", version="1", digest="d", window=3, start=0, end=60, since=0, causes=(),
    action="retrain", reasons=("worse",),
)  # fmt: skip


@pytest.fixture
def attempts(tmp_path) -> Attempts:
    return Attempts(str(tmp_path))


def begun(attempts: Attempts) -> Attempt:
    attempt = attempts.begin(REPORT, "watch")
    assert attempt
    return attempt


def test_what_was_done_is_written_down(attempts):
    with Ongoing(attempts, begun(attempts)) as ongoing:
        ongoing.note("version 2 is registered", made="2", made_digest="e")
        ongoing.end("promoted", "it is better")
    (kept,) = attempts.all()
    assert (kept.status, kept.reason, kept.made, kept.by, kept.pid) == (
        "promoted",
        "it is better",
        "2",
        "watch",
        os.getpid(),
    )
    assert [event.what for event in kept.events] == ["version 2 is registered", "promoted: it is better"]
    assert attempts.last(REPORT.id) == kept and not attempts.unfinished()


def test_of_two_one_begins(attempts, monkeypatch):
    monkeypatch.setattr(attempts, "last", lambda report: None)  # both look before either has begun
    assert attempts.begin(REPORT, "watch") and attempts.begin(REPORT, "watch") is None


def test_the_next_one_goes_on_where_the_last_was_cut_off(attempts):
    with Ongoing(attempts, begun(attempts)) as ongoing:
        ongoing.note("registered", made="2", made_digest="e")
    (left,) = attempts.unfinished()
    again = begun(attempts)
    assert (again.number, again.made, again.made_digest) == (2, "2", "e")
    assert attempts.unfinished() == [again] and left.number == 1


def test_who_is_alive(attempts):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        theirs: dict[str, Any] = {"pid": process.pid}
        attempt = begun(attempts)
        assert not attempt.alive()  # this very process, which does one thing at a time
        assert attempt.model_copy(update=theirs).alive()
        silent = {"beat": datetime.now(UTC) - timedelta(minutes=5)}
        assert not attempt.model_copy(update={**theirs, **silent}).alive()
        assert attempt.model_copy(update={"host": "elsewhere"}).alive()
        assert not attempt.model_copy(update={"host": "elsewhere", **silent}).alive()
        assert not attempt.model_copy(update={**theirs, "status": "interrupted"}).alive()
    finally:
        process.communicate(b"\n")
    assert not attempt.model_copy(update=theirs).alive()


def test_one_that_seems_silent_is_looked_at_again(attempts, monkeypatch):
    monkeypatch.setattr("ray_mlops.monitoring.attempts.BEAT_S", 0.1)
    attempt = begun(attempts)
    for off in (timedelta(hours=1), timedelta(hours=-1)):  # a clock that was put forward, and one that was put back
        theirs = attempt.model_copy(update={"host": "elsewhere", "beat": datetime.now(UTC) - off})
        attempts.write(theirs)
        assert not theirs.alive() and not attempts.alive(theirs)
        beating = threading.Timer(0.05, attempts.write, [theirs.model_copy(update={"beat": datetime.now(UTC)})])
        beating.start()
        assert attempts.alive(theirs)
        beating.join()


def test_one_training_waits_for_the_cooldown_of_the_last(attempts):
    assert cooled_down(attempts.all(), "retrain", 3_600) == 0
    with Ongoing(attempts, begun(attempts)) as ongoing:
        assert cooled_down(attempts.all(), "retrain", 3_600) == 0
        ongoing.end("failed", "no data")
    assert 3_500 < cooled_down(attempts.all(), "retrain", 3_600) <= 3_600
    assert cooled_down(attempts.all(), "roll back", 3_600) == cooled_down(attempts.all(), "retrain", 0) == 0
    (ended,) = attempts.all()
    for ahead_s, left_s in (
        (30, 3_600),
        (3_000, 0),
    ):  # clocks of two machines differ so much; or ours was put back since
        attempts.write(ended.model_copy(update={"beat": datetime.now(UTC) + timedelta(seconds=ahead_s)}))
        assert cooled_down(attempts.all(), "retrain", 3_600) == left_s
