"""Records of rollouts, and measures of a user's own."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_mlops.errors import ConfigError
from ray_mlops.serving.rollouts import metric
from ray_mlops.serving.rollouts.judge import Check, Step
from ray_mlops.serving.rollouts.plan import Plan
from ray_mlops.serving.rollouts.records import Records, Rollout, Side
from ray_mlops.serving.rollouts.tally import Answers, LaneCounter, Tally, compared

PLAN = Plan(mode="canary", shares=(0.1,))
SIDES = (Side(model="shop", version="1", digest="a"), Side(model="shop", version="2", digest="b"))


def test_a_record_tells_who_when_which_and_why(tmp_path: Path) -> None:
    records = Records(str(tmp_path), "shop")
    begun = records.write(Rollout.begin("shop", *SIDES, PLAN))
    check = Check(
        name="errors", verdict="bad", numbers={"champion_errors": 1}, evidence=200, needed=100, reason="it fails"
    )
    ended = records.write(begun.then("step", share=0.1).then("rolled_back", reason="it fails", checks=[check]))
    assert records.read(begun.id) == ended and records.all() == [ended] and records.running() is None
    assert (ended.status, ended.reason, ended.user != "", ended.pid) == ("rolled_back", "it fails", True, os.getpid())
    assert [event.what for event in ended.events] == ["started", "step", "rolled_back"]
    assert ended.events[-1].checks == (check,)
    assert (ended.champion.digest, ended.challenger.digest) == ("a", "b")


def test_a_command_that_died_is_told_from_one_that_runs(tmp_path: Path) -> None:
    mine = Rollout.begin("shop", *SIDES, PLAN)
    assert mine.alive() and not mine.then("interrupted").alive()
    assert not mine.model_copy(update={"pid": 2**22 + 1}).alive()
    elsewhere = mine.model_copy(update={"host": "elsewhere"})
    assert elsewhere.alive()
    assert not elsewhere.model_copy(update={"beat": datetime.now(UTC) - timedelta(minutes=5)}).alive()


def test_one_elsewhere_that_seems_silent_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_mlops.serving.rollouts.records.BEAT_S", 0.05)
    records = Records(str(tmp_path), "shop")
    for off in (timedelta(hours=1), timedelta(hours=-1)):  # a clock that was put forward, and one that was put back
        then = {"host": "elsewhere", "beat": datetime.now(UTC) - off}
        theirs = records.write(Rollout.begin("shop", *SIDES, PLAN).model_copy(update=then))
        assert not theirs.alive() and not records.alive(theirs)
        beating = threading.Timer(0.05, records.write, [theirs.beating()])
        beating.start()
        assert records.alive(theirs)
        beating.join()


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (True, "ok"),
        (False, "bad"),
        (3, "ok"),
        ({"verdict": "bad", "lost": 4.5}, "bad"),
        ({"verdict": "unknown"}, "unknown"),
        (None, "failed"),
        ({"verdict": "perhaps"}, "failed"),
    ],
)
def test_a_measure_may_answer_in_several_ways(found: Any, verdict: str) -> None:
    said = metric.check("mine:measure", lambda summary: found, [Step(share=0.1, tally=Tally())])
    assert said.verdict == verdict and (verdict not in ("bad", "failed") or said.reason)


def test_a_measure_gets_the_summary_of_both_sides() -> None:
    lane = LaneCounter()
    for number in range(100):
        lane.add(0.001 * (1 + number % 10), failed=number == 0)
    scores = np.array([0.1, 0.9])
    pairs = compared(Answers(scores, scores > 0.5, scores > 0.5), Answers(scores / 2, scores > 1, scores > 1))
    summary = metric.summary([Step(share=0.3, tally=Tally(champion=lane.lane(), challenger=lane.lane(), pairs=pairs))])
    champion, challenger = summary["champion"], summary["challenger"]
    assert (champion["requests"], champion["errors"], champion["alerts"], challenger["alerts"]) == (100, 1, 1, 0)
    assert champion["latency_p95_ms"] == pytest.approx(10, rel=0.15)
    assert champion["mean_score"] == pytest.approx(0.5, abs=0.05) and challenger["mean_score"] == pytest.approx(
        0.25, abs=0.05
    )
    assert (summary["pairs"], summary["alike"], summary["share"]) == (2, 1, 0.3)


@pytest.mark.parametrize("name", ["no_such_module:measure", "os:no_such_measure", "os:name"])
def test_a_measure_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        metric.load(name)
