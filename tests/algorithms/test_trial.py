"""A trial tells each verdict, pauses at the end of its turn, goes on from there, and never raises what a setting did."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.algorithms.examiner import examination_data
from ray_mlops.algorithms.trial import TrialWorker, attempt

DATA = examination_data(600)
ALGORITHM = XGBoost(rounds=20)


def tried(algorithm: Any = ALGORITHM, **worker: Any) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    place = TrialWorker(metric="roc_auc", tell=lambda value, **other: told.append({"value": value, **other}), **worker)
    attempt(lambda: algorithm, DATA, place)
    return told


def test_each_verdict_is_told_and_then_the_outcome() -> None:
    told = tried()
    assert [line.get("report") for line in told] == [*range(1, 11), None]
    assert told[-1]["final"]
    assert "over" not in told[-1]
    assert told[-1]["value"] == pytest.approx(told[-2]["value"])


def test_turn_by_turn_a_trial_ends_where_it_would_have_ended_at_once(tmp_path: Path) -> None:
    curve, resume, turns = [], None, 0
    while True:
        target = tmp_path / str(turns)
        keep = lambda folder, target=target: shutil.copytree(folder, target)
        told = tried(turn=3, before=len(curve), keep=keep, resume=resume)
        reports = [line for line in told if "report" in line]
        assert [line["report"] for line in reports] == list(range(len(curve) + 1, len(curve) + 1 + len(reports)))
        curve += [line["value"] for line in reports]
        turns += 1
        if told[-1].get("over", True):
            break
        assert told[-1]["value"] == curve[-1]
        resume = str(target)
    whole = tried()
    assert turns == 4
    assert curve == pytest.approx([line["value"] for line in whole if "report" in line])
    assert told[-1]["value"] == pytest.approx(whole[-1]["value"])


def test_a_setting_that_cannot_be_fitted_is_told() -> None:
    def never() -> Any:
        raise ValueError("the stars were not right")

    told: list[dict[str, Any]] = []
    place = TrialWorker(metric="roc_auc", tell=lambda value, **other: told.append({"value": value, **other}))
    attempt(never, DATA, place)
    assert [line["error"] for line in told] == ["ValueError: the stars were not right"]
