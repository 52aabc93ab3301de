import threading
from pathlib import Path

import pytest

from ray_mlops.monitoring.alarms import Rule
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.history import History, Judged, stretches
from ray_mlops.monitoring.judging import Judge, Judging
from tests.monitoring.watched import DIGEST, baseline, leave, window

JUDGING = Judging(min_requests=200, window_s=60)
LATER = 1e9


@pytest.fixture(scope="module")
def known() -> Baseline:
    return baseline()


def judge(known: Baseline, folder: Path, judging: Judging = JUDGING) -> Judge:
    return Judge(judging, known, History(str(folder), DIGEST))


def test_200_clean_windows_raise_no_more_than_promised(known, tmp_path):
    rule = Rule(false_alarms=0.01)
    leave(str(tmp_path), *(window(known, 60 * number, 250) for number in range(200)))
    strict = JUDGING.model_copy(update={"alarm": rule, "drift": JUDGING.drift.model_copy(update={"psi": 1e-6})})
    strict = strict.model_copy(update={"share": 1e-9, "bias": 1e-9})  # whatever the effect: chance alone decides
    judging = judge(known, tmp_path, strict)
    judged = judging.catch_up(LATER)
    assert [one.number for one in judged] == list(range(1, 201)) and all(one.readings for one in judged)
    assert sum(map(bool, judging.replayed(judged))) <= 6  # 2 are promised on average
    assert not any(map(bool, judge(known, tmp_path).replayed(judged)))


@pytest.mark.parametrize(("change", "named"), [({"scale": 3.0}, "feature amount"), ({"blocked_b": 0.45}, "group b")])
def test_a_shift_is_seen_within_three_windows(known, tmp_path, change, named):
    leave(str(tmp_path), *(window(known, 60 * number, 300) for number in range(20)))
    leave(str(tmp_path), *(window(known, 60 * number, 300, **change) for number in range(20, 23)))
    judged = judge(known, tmp_path).catch_up(LATER)
    first = next(one.number for one in judged if one.alarms)
    assert 21 <= first <= 23
    assert any(named in alarm.key for alarm in judged[22].alarms)


def test_windows_of_replicas_are_judged_together_once_they_suffice(known, tmp_path):
    leave(str(tmp_path), *(window(known, 0, 60, replica=name) for name in ("r1", "r2", "r3")))
    assert not judge(known, tmp_path).catch_up(LATER)
    present = judge(known, tmp_path).at_present()
    assert present and present.requests == 180 and not present.readings
    leave(str(tmp_path), window(known, 60, 60), window(known, 60, 30, replica="r2"))
    (judged,) = judge(known, tmp_path).catch_up(LATER)
    assert (judged.requests, judged.start, judged.end, judged.capture) == (270, 0, 120, {"written": 270})


def test_a_window_that_is_not_over_waits(known, tmp_path):
    leave(str(tmp_path), window(known, 0, 300))
    assert not judge(known, tmp_path).catch_up(now=60)
    assert judge(known, tmp_path).catch_up(now=91)


def test_what_comes_late_is_counted_later(known, tmp_path):
    leave(str(tmp_path), window(known, 0, 300))
    judge(known, tmp_path).catch_up(LATER)
    late = window(known, 0, 250, replica="r2").model_copy(update={"late": 1})
    leave(str(tmp_path), late)
    (second,) = judge(known, tmp_path).catch_up(LATER)
    assert (second.requests, second.total[0]) == (250, 550)


def test_killed_between_record_and_removal_nothing_is_counted_twice(known, tmp_path):
    made = [window(known, 60 * number, 250) for number in range(3)]
    leave(str(tmp_path), *made)
    assert len(judge(known, tmp_path).catch_up(LATER)) == 3
    leave(str(tmp_path), made[2])  # as if the process had died before it removed the file
    assert not judge(known, tmp_path).catch_up(LATER)
    assert judge(known, tmp_path).at_present() is None
    assert History(str(tmp_path), DIGEST).judged(last=1)[0].total[0] == 750


def test_killed_before_the_record_the_window_is_still_there(known, tmp_path, monkeypatch):
    leave(str(tmp_path), window(known, 0, 250))

    def die(self: History, judged: Judged) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(History, "add", die)
        with pytest.raises(KeyboardInterrupt):
            judge(known, tmp_path).catch_up(LATER)
    assert [one.requests for one in judge(known, tmp_path).catch_up(LATER)] == [250]


def test_many_who_judge_at_once_judge_each_window_once(known, tmp_path):
    leave(str(tmp_path), *(window(known, 60 * number, 220) for number in range(30)))
    made: list[Judged] = []
    workers = [threading.Thread(target=lambda: made.extend(judge(known, tmp_path).catch_up(LATER))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    judged = History(str(tmp_path), DIGEST).judged()
    assert sorted(one.number for one in made) == [one.number for one in judged] == list(range(1, 31))
    assert sorted(name for one in judged for name in one.files) == sorted(
        {name for one in judged for name in one.files}
    )
    assert judged[-1].total[0] == 30 * 220


def test_stretches_hold_enough(known):
    made = [window(known, 60 * number, 90) for number in range(7)]
    assert [len(part.windows) for part in stretches(made, requests=200, seconds=60)] == [3, 3, 1]
    assert [len(part.windows) for part in stretches(made, requests=1, seconds=300)] == [5, 2]
