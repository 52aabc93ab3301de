import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from ray_mlops.monitoring import picture_quality
from ray_mlops.monitoring.alarms import Rule, judge
from ray_mlops.monitoring.labelled import Classified
from ray_mlops.monitoring.picture_quality import Tested

CLASSES = ("bird", "cat", "dog")
DAY = 86_400.0
NOW = 100 * DAY
TESTED = Tested({"accuracy": 0.9}, rows=2_000)


def answers(rows: int, accuracy: float, seed: int = 0) -> Classified:
    """Answers of the last twenty days, so many of them right; the label comes after a day."""
    random = np.random.default_rng(seed)
    label = random.integers(0, 3, rows)
    told = np.where(random.random(rows) < accuracy, label, (label + 1) % 3)
    answered = NOW - random.random(rows) * 20 * DAY
    names = np.array(CLASSES)
    return Classified(answered, answered + DAY, names[told], np.full(rows, accuracy), names[label])


def test_figures_are_those_of_scikit_learn():
    known = answers(500, 0.8)
    found = picture_quality.figures(known, CLASSES)
    assert found["accuracy"] == accuracy_score(known.label, known.told)
    assert found["macro_f1"] == pytest.approx(f1_score(known.label, known.told, average="macro"))
    assert found["best_constant"] == max(np.unique(known.label, return_counts=True)[1]) / 500
    assert found["ece"] == pytest.approx(0.0, abs=0.1)


def test_a_class_that_only_another_version_knows_is_a_mistake():
    known = answers(100, 1.0)
    label = np.where(np.arange(100) < 10, "cow", known.label.astype(object)).astype(str)
    found = picture_quality.figures(
        Classified(known.answered, known.arrived, known.told, known.probability, label), CLASSES
    )
    assert found["accuracy"] == pytest.approx(0.9) and 0.85 < found["macro_f1"] < 1


@pytest.mark.parametrize(("accuracy", "alarming"), [(0.9, False), (0.6, True)])
def test_a_model_that_got_worse_is_an_alarm_and_one_that_did_not_is_none(accuracy, alarming):
    readings = list(picture_quality.compare(answers(800, accuracy), TESTED, start=0, end=NOW + DAY, limit=0.1))
    assert [one.key for one in readings] == ["model quality: top-1"]
    assert bool(judge([readings], Rule())) is alarming


def test_labels_that_came_at_another_time_and_few_labels_say_nothing():
    assert not list(picture_quality.compare(answers(800, 0.5), TESTED, start=0, end=NOW - 30 * DAY, limit=0.1))
    assert not list(picture_quality.compare(answers(15, 0.5), TESTED, start=0, end=NOW + DAY, limit=0.1))
    assert set(picture_quality.figures(answers(15, 0.5), CLASSES).values()) == {None}


def test_quality_is_told_by_the_age_of_answers_and_no_label_is_no_mistake():
    known = answers(2_000, 0.8)
    waiting = known.answered > NOW - 3 * DAY
    some = Classified(
        known.answered,
        np.where(waiting, np.nan, known.arrived),
        known.told,
        known.probability,
        np.where(waiting, "", known.label),
    )
    rows = picture_quality.by_maturity(some, CLASSES, NOW)
    assert [row["days"] for row in rows] == [0, 1, 3, 7, 14]
    assert rows[0]["labelled"] == rows[2]["labelled"] == rows[2]["answers"] < rows[0]["answers"]
    assert rows[0]["accuracy"] == pytest.approx(0.8, abs=0.03)
