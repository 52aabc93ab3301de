import json
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ray_mlops.monitoring import labelled, model_quality
from ray_mlops.monitoring.alarms import Rule, judge
from ray_mlops.monitoring.labelled import Labelled
from ray_mlops.monitoring.model_quality import Tested
from ray_mlops.platform.compaction import compact

DAY = 86_400.0
NOW = 100 * DAY


def answers(random: np.random.Generator, rows: int, *, share: float = 0.05, skill: float = 2.0) -> Labelled:
    """Scores that tell positives from negatives by `skill` standard deviations; the label comes after a day."""
    label = (random.random(rows) < share).astype(float)
    score = 1 / (1 + np.exp(-(random.normal(size=rows) + skill * label - 3)))
    answered = NOW - random.random(rows) * 20 * DAY
    return Labelled(answered, answered + DAY, label, score, score, score > 0.5)


@pytest.fixture(scope="module")
def tested() -> Tested:
    known = answers(np.random.default_rng(9), 200_000)
    found = average_precision_score(known.label, known.score)
    return Tested({"average_precision": float(found)}, prevalence=float(known.label.mean()), budget=0.02)


def test_average_precision_is_that_of_scikit_learn(tested):
    known = answers(np.random.default_rng(0), 5_000)
    found = model_quality.figures(known, tested)
    assert found["average_precision"] == pytest.approx(average_precision_score(known.label, known.score))
    assert found["best_constant"] == known.label.mean()
    first = np.argsort(-known.score)[:100]
    assert found["precision_at_budget"] == pytest.approx(known.label[first].mean())


def test_labels_of_frauds_that_come_first_do_not_flatter(tested):
    known = answers(np.random.default_rng(1), 40_000)
    early = known.take((known.label > 0) | (np.random.default_rng(2).random(40_000) < 0.1))
    assert average_precision_score(early.label, early.score) > tested.metrics["average_precision"] + 0.15
    expected = pytest.approx(tested.metrics["average_precision"], abs=0.04)
    assert model_quality.adjusted(early, tested.prevalence) == expected


def test_a_model_that_got_worse_is_an_alarm_and_one_that_did_not_is_none(tested):
    random = np.random.default_rng(3)
    for skill, alarming in ((2.0, False), (0.5, True)):
        came = answers(random, 8_000, skill=skill)
        readings = list(model_quality.compare(came, tested, start=0, end=NOW + DAY, limit=0.1))
        assert bool(judge([readings], Rule())) is alarming


def test_few_positives_say_nothing(tested):
    few = answers(np.random.default_rng(4), 100)
    assert not list(model_quality.compare(few, tested, start=0, end=NOW + DAY, limit=0.1))
    assert set(model_quality.figures(few, tested).values()) == {None}


def test_quality_is_told_by_the_age_of_answers_and_no_label_is_not_the_label_0(tested):
    known = answers(np.random.default_rng(5), 20_000)
    waiting = known.answered > NOW - 3 * DAY
    some = Labelled(
        known.answered, np.where(waiting, np.nan, known.arrived), np.where(waiting, np.nan, known.label),
        known.score, known.probability, known.selected,
    )  # fmt: skip
    rows = model_quality.by_maturity(some, tested, NOW)
    assert [row["days"] for row in rows] == [0, 1, 3, 7, 14]
    assert rows[0]["labelled"] == rows[2]["labelled"] == rows[2]["answers"] < rows[0]["answers"]
    assert rows[0]["observed"] == pytest.approx(0.05, abs=0.01)


def line(number: int, at: float, **fields: object) -> str:
    moment = datetime.fromtimestamp(at, UTC).isoformat()
    told = {"time": moment, "id": number, "digest": "d", "score": 0.2, "probability": 0.1, "decision": "approve"}
    return json.dumps({**told, "features": {"a": number, "b": None}, **fields}, separators=(",", ":"))


def label(number: int, at: float, value: int) -> str:
    moment = datetime.fromtimestamp(at, UTC).isoformat()
    told = {"kind": "label", "time": moment, "id": number, "label": value, "digest": "other"}
    return json.dumps(told, separators=(",", ":"))


def test_labels_find_their_answers_in_the_log(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(
        "\n".join([line(1, 10), line(1, 20), line(2, 30, decision="block"), line(3, 40, digest="e"), label(1, 50, 1)])
        + '\n{"time": "19'
    )
    (tmp_path / "b.jsonl").write_text(
        "\n".join([label(1, 60, 0), label(3, 60, 1), label(9, 60, 1), line(4, 70)]) + "\n"
    )
    found = labelled.read(str(tmp_path), "d", unselected="approve")
    assert found.answered.tolist() == [10, 30, 70]
    assert found.selected.tolist() == [False, True, False]
    assert (found.known.tolist(), found.label[0], found.arrived[0]) == ([True, False, False], 0, 50)
    times, rows = labelled.explained(str(tmp_path), "d", ["b", "a"], since=15)
    assert times.tolist() == [20, 30, 70] and rows[:, 1].tolist() == [1, 2, 4] and np.isnan(rows[:, 0]).all()

    assert compact(str(tmp_path), today=date.max).segments == 2
    again = labelled.read(str(tmp_path), "d", unselected="approve")
    assert all(np.array_equal(getattr(again, name), getattr(found, name), equal_nan=True) for name in vars(found))
    assert labelled.explained(str(tmp_path), "d", ["b", "a"], since=15)[0].tolist() == [20, 30, 70]


def test_a_log_without_labels_is_not_read_twice(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(line(1, 10) + "\n")
    assert len(labelled.read(str(tmp_path), "d", unselected="approve").label) == 0
