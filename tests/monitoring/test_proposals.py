from typing import Any

import pytest

from ray_mlops.monitoring.proposals import Circumstances, propose
from ray_mlops.monitoring.readings import Reading

DEPLOYED = 10_000.0
FRESH = Circumstances(deployed=DEPLOYED, before="3")
SOON, LATE = DEPLOYED + 600, DEPLOYED + 86_400


def reading(monitor: Any, name: str, *, effect: float = 1.0, chance: float = 0.0) -> Reading:
    return Reading(monitor=monitor, name=name, rows=500, effect=effect, limit=0.1, chance=chance, words=f"{name} told")


MISSING = reading("data quality", "amount missing")
OUTSIDE = reading("data quality", "amount out of range")
REFUSED = reading("data quality", "requests refused")
UNANSWERED = reading("data quality", "answers without the model")
DRIFT = reading("data drift", "feature amount")
WORSE = reading("model quality", "average precision")
AS_GOOD = reading("model quality", "average precision", effect=0.02, chance=0.4)
LOST = reading("operation", "capture log")


@pytest.mark.parametrize(
    ("alarmed", "since", "known", "action", "said"),
    [
        # Right after another version came.
        ([MISSING], SOON, FRESH, "roll back", "took the place of version 3"),
        ([OUTSIDE, DRIFT], SOON, FRESH, "roll back", "amount out of range told"),
        ([UNANSWERED], SOON, FRESH, "roll back", "answers without the model told"),
        ([WORSE], SOON, FRESH, "roll back", "average precision told"),
        ([DRIFT], SOON, FRESH, "keep", "no labels"),
        ([WORSE, DRIFT], SOON, FRESH, "retrain", "while other things moved"),
        ([MISSING], SOON, FRESH._replace(before_alarmed=True), "keep", "version 3 was replaced, which was in alarm itself"),
        # Later, or where the version took nobody's place.
        ([MISSING], LATE, FRESH, "keep", "would learn the break"),
        ([MISSING, WORSE], LATE, FRESH, "keep", "would learn the break"),
        ([REFUSED], SOON, Circumstances(), "keep", "Mend what sends them"),
        ([WORSE], LATE, FRESH, "retrain", "what it means has changed"),
        ([DRIFT, WORSE], LATE, FRESH, "retrain", "become worse"),
        ([DRIFT], LATE, FRESH, "keep", "no labels"),
        ([DRIFT, OUTSIDE], LATE, FRESH._replace(quality=AS_GOOD), "keep", "as good as before"),
        ([DRIFT], LATE, FRESH._replace(quality=WORSE), "retrain", "become worse"),
        ([OUTSIDE], LATE, FRESH._replace(quality=WORSE), "retrain", "become worse"),
        # What no model mends.
        ([LOST], SOON, FRESH, "keep", "look at the disk"),
        ([UNANSWERED], LATE, FRESH, "keep", "deadline"),
    ],
)  # fmt: skip
def test_what_an_alarm_calls_for(alarmed, since, known, action, said):
    found, reasons = propose(alarmed, since, known)
    assert found == action, reasons
    assert said in " ".join(reasons)


def test_all_that_is_wrong_is_told():
    _, reasons = propose([LOST, UNANSWERED, DRIFT], LATE, Circumstances())
    assert [word in reason for word, reason in zip(("disk", "deadline", "feature amount"), reasons, strict=True)] == [
        True
    ] * 3


def test_a_fall_of_quality_that_may_be_chance_trains_nothing():
    doubtful = reading("model quality", "average precision", chance=0.2)
    assert propose([DRIFT], LATE, Circumstances(quality=doubtful))[0] == "keep"
