"""Whether a failure is put down to the cluster depends on whether it was away, and when."""

import time
from collections.abc import Callable

import pytest

from ray_mlops.platform import cluster_guard, runtime
from ray_mlops.platform.cluster_guard import ClusterGuard

EVERY_S = 0.02


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What names the cluster, at the end the latest; empty where none answers."""
    names = ["one"]
    monkeypatch.setattr(cluster_guard, "EVERY_S", EVERY_S)
    monkeypatch.setattr(runtime, "identity", lambda: names[-1])
    return names


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(EVERY_S / 2)


def test_one_that_was_away_for_a_moment_is_blamed_for_what_fails_then_and_not_later(answers: list[str]) -> None:
    lost: list[str] = []
    with ClusterGuard(lost.append, silent_s=2) as guard:
        assert guard.why() == ""
        answers.append("")
        until(lambda: guard._missed > 0)
        answers.append("one")
        assert "did not answer" in guard.why()
        until(lambda: guard.why() == "")
    assert lost == []


@pytest.mark.parametrize(("now", "why"), [("another", "taken the place"), ("", "did not answer")])
def test_one_that_does_not_come_back_is_told_of_once(answers: list[str], now: str, why: str) -> None:
    lost: list[str] = []
    with ClusterGuard(lost.append, silent_s=0.1):
        answers.append(now)
        until(lambda: lost)
        time.sleep(4 * EVERY_S)
    assert len(lost) == 1 and why in lost[0]
