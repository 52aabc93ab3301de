"""The page of a search: axes and heights, curves, and trials that failed or never reported."""

from typing import Any

from ray_mlops.reports.page import Chart, Rows, Text, render
from ray_mlops.reports.tune_page import tune_page

METRIC = "accuracy"


def a_trial(number: int, rate: float, curve: list[float], **other: Any) -> dict[str, Any]:
    settings = {"rate": rate, "shape": (8,) if number % 2 else (16, 8), "same": 1}
    value = other.pop("value", curve[-1] if curve else None)
    status = other.pop("status", "complete")
    given = {"trial": number, "status": status, "value": value, "settings": settings, "curve": curve}
    return {**given, "seconds": 1.5, "error": "", "parent": None, **other}


TRIALS = [
    a_trial(0, 0.1, [0.5, 0.6]),
    a_trial(1, 0.3, [0.4, 0.8]),
    a_trial(2, 0.2, [0.1], value=None, status="stopped"),
    a_trial(3, 0.5, [], value=None, status="failed", error="ValueError: <b>no</b>"),
]


def blocks(trials: list[dict[str, Any]], kind: type) -> list[Any]:
    return [
        block for section in tune_page(trials, METRIC).sections for block in section.blocks if isinstance(block, kind)
    ]


def test_parallel_coordinates_have_an_axis_for_all_that_differs_and_the_metric() -> None:
    picture = blocks(TRIALS, Chart)[0]
    rows = picture.data()
    assert list(dict.fromkeys(row["axis"] for row in rows)) == ["rate", "shape", METRIC]
    assert {row["trial"] for row in rows} == {0, 1, 2}
    heights = {(row["trial"], row["axis"]): row["height"] for row in rows}
    assert (heights[0, "rate"], heights[1, "rate"]) == (0.0, 1.0)
    assert abs(heights[2, "rate"] - 0.5) < 1e-9
    assert heights[1, METRIC] == 1.0
    assert heights[2, METRIC] == 0.0
    assert {heights[number, "shape"] for number in (0, 2)} != {heights[1, "shape"]}


def test_learning_curves_are_those_of_more_than_one_report() -> None:
    curves = blocks(TRIALS, Chart)[1].data()
    assert [(row["trial"], row["report"], row[METRIC]) for row in curves] == [
        ("0", 1, 0.5), ("0", 2, 0.6), ("1", 1, 0.4), ("1", 2, 0.8),
    ]  # fmt: skip


def test_the_best_is_named_and_a_failure_told() -> None:
    texts = [block.text for block in blocks(TRIALS, Text)]
    assert texts == ["Trial 1 is the best: accuracy 0.8", "Trial 3: ValueError: <b>no</b>"]
    assert len(blocks(TRIALS, Rows)[-1].rows) == 4
    page = render(tune_page(TRIALS, METRIC))
    assert "<b>no</b>" not in page


def test_one_trial_and_none_that_came_to_a_value_still_make_a_page() -> None:
    assert blocks(TRIALS[:1], Chart)[0].data()[0]["report"] == 1
    assert blocks(TRIALS[3:], Chart) == []
    assert "Search" in render(tune_page([], METRIC))
