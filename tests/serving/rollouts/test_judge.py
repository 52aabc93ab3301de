"""The judge: how often it rolls an equal challenger back, and whether it finds what is planted."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from ray_mlops.serving.rollouts.judge import Check, Judge, Step
from ray_mlops.serving.rollouts.plan import Judging
from ray_mlops.serving.rollouts.tally import Answers, LaneCounter, Tally, compared

JUDGING = Judging()
LOOKS, REQUESTS_PER_LOOK = 60, 100


class Traffic:
    """Requests of an endpoint, some of which a challenger answers; what it does worse is said in the fields."""

    def __init__(self, seed: int, share: float, **worse: float) -> None:
        self.random, self.share, self.worse = np.random.default_rng(seed), share, worse
        self.lanes = [LaneCounter(), LaneCounter()]
        self.tally = Tally()
        self.load = 1.0

    def pass_by(self, requests: int) -> Step:
        """Some more requests, all of them also copied; load comes and goes and strikes both variants."""
        random, worse = self.random, self.worse
        self.load = 1.0 if random.random() < 0.7 else 3.0
        for challenger in random.random(requests) < (self.share or 0.5):
            slower = worse.get("latency", 1.0) if challenger else 1.0
            failing = 0.004 + (worse.get("errors", 0.0) if challenger else 0.0)
            seconds = 0.02 * self.load * slower * random.lognormal(0, 0.3)
            self.lanes[int(challenger)].add(seconds, failed=bool(random.random() < failing))
        self.tally = self._copied(requests)
        return Step(share=self.share, tally=self.tally)

    def _copied(self, requests: int) -> Tally:
        random, worse = self.random, self.worse
        truth = random.normal(-4, 2, requests)
        # A shift below the threshold: no decision tells of it.
        retrained = truth + random.normal(0, 0.15, requests) + np.where(truth < -3, worse.get("shift", 0.0), 0.0)
        limits = worse.get("alert_limit", 0.3)
        sides = [(1 / (1 + np.exp(-truth)), 0.3), (1 / (1 + np.exp(-retrained)), limits)]
        answers = [Answers(scores, scores > limit, scores > limit) for scores, limit in sides]
        lanes = {"champion": self.lanes[0].lane(), "challenger": self.lanes[1].lane()}
        names = lanes if self.share else {f"beside_{name}": lane for name, lane in lanes.items()}
        return Tally(**names, pairs=self.tally.pairs.plus(compared(*answers)))


def bad(seed: int, share: float = 0.1, looks: int = LOOKS, **worse: float) -> list[Check]:
    """The checks that end a rollout; none when it goes through."""
    judge, traffic = Judge(JUDGING), Traffic(seed, share, **worse)
    for _ in range(looks):
        found = [check for check in judge.look([traffic.pass_by(REQUESTS_PER_LOOK)]) if check.verdict == "bad"]
        if found:
            return found
    return []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.0])
def test_an_equal_challenger_is_rolled_back_no_more_often_than_promised(share: float) -> None:
    rollouts = 120
    rolled_back = sum(bool(bad(seed, share)) for seed in range(rollouts))
    assert rolled_back <= JUDGING.false_rollback_rate * rollouts


@pytest.mark.parametrize("share", [0.1, 0.5, 0.0])
@pytest.mark.parametrize(
    ("worse", "check"),
    [
        ({"errors": 0.05}, "errors"),
        ({"latency": 2.0}, "latency"),
        ({"shift": 2.0}, "score_psi"),
        ({"alert_limit": 0.02}, "alerts"),
        ({"alert_limit": 0.98}, "alerts"),
        ({"alert_limit": 0.001}, "agreement"),
    ],
)
def test_what_is_planted_is_found(share: float, worse: dict[str, float], check: str) -> None:
    for seed in range(10):
        found = bad(seed, share, **worse)
        assert found, (seed, worse)
        assert check in {one.name for one in found}
        assert all(one.reason and one.evidence >= one.needed for one in found)


def test_every_check_brings_its_numbers() -> None:
    judge, traffic = Judge(JUDGING), Traffic(1, 0.2)
    for _ in range(20):
        checks = judge.look([traffic.pass_by(REQUESTS_PER_LOOK)])
    assert [check.name for check in checks] == ["errors", "latency", "agreement", "score_psi", "alerts"]
    assert {check.verdict for check in checks} == {"ok"} and all(check.numbers for check in checks)
    assert checks[0].numbers["challenger_requests"] + checks[0].numbers["champion_requests"] == 2000


def test_nothing_is_known_before_anybody_asked() -> None:
    checks = Judge(JUDGING).look([Step(share=0.1, tally=Tally())])
    assert {check.verdict for check in checks} == {"unknown"}


def test_the_steps_of_a_linear_rollout_are_judged_together() -> None:
    judge, steps = Judge(JUDGING), []
    few: Callable[[int, float], Traffic] = partial(Traffic, errors=0.05)
    for seed, share in enumerate((0.1, 0.25, 0.5)):
        traffic = few(seed, share)
        for _ in range(10):
            checks = judge.look([*steps, traffic.pass_by(REQUESTS_PER_LOOK)])
        steps.append(Step(share=share, tally=traffic.tally))
    assert checks[0].numbers["challenger_requests"] == sum(step.tally.challenger.requests for step in steps)
    assert checks[0].verdict == "bad"
