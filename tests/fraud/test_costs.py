"""Thresholds against an exhaustive search."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.fraud.costs import Costs, budget_threshold, cheapest_threshold, cost_curve, precise_threshold

rows = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.floats(0, 100)), min_size=1, max_size=40)


def columns(drawn: list[tuple[int, bool, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, labels, amounts = zip(*drawn, strict=True)
    return np.array(scores) / 6, np.array(labels), np.array(amounts)


@settings(max_examples=80, deadline=None)
@given(rows, st.floats(0, 30))
def test_the_cheapest_threshold_saves_as_much_as_any(drawn: list[tuple[int, bool, float]], review: float) -> None:
    scores, labels, amounts = columns(drawn)
    worth = Costs(review=review).worth(labels, amounts)
    best = max(0.0, *(worth[scores >= at].sum() for at in scores))
    threshold = cheapest_threshold(scores, worth)
    assert worth[scores >= threshold].sum() == pytest.approx(best, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(rows, st.integers(0, 45))
def test_a_budget_is_used_up_and_never_exceeded(drawn: list[tuple[int, bool, float]], alerts: int) -> None:
    scores, _, _ = columns(drawn)
    threshold = budget_threshold(scores, alerts)
    raised = (scores >= threshold).sum()
    assert raised <= alerts
    lower = scores[scores < threshold]
    if len(lower):
        assert (scores >= lower.max()).sum() > alerts


@settings(max_examples=100, deadline=None)
@given(rows, st.floats(0.1, 1.0))
def test_a_precise_threshold_is_precise(drawn: list[tuple[int, bool, float]], precision: float) -> None:
    scores, labels, _ = columns(drawn)
    alerts = scores >= precise_threshold(scores, labels, precision, minimum=3)
    assert not alerts.any() or (alerts.sum() >= 3 and labels[alerts].mean() >= precision - 1e-12)


def test_a_threshold_lies_between_two_scores() -> None:
    threshold = cheapest_threshold(np.array([0.2, 0.8]), np.array([-5.0, 20.0]))
    assert 0.2 < threshold < 0.8


def test_nothing_is_alerted_where_no_review_pays() -> None:
    assert math.isinf(cheapest_threshold(np.array([0.1, 0.9]), np.array([-5.0, -1.0])))
    assert math.isinf(budget_threshold(np.array([0.5, 0.5]), 1))


def test_the_curve_takes_equal_scores_together() -> None:
    curve = cost_curve(np.array([0.5, 0.9, 0.5]), np.array([1.0, 10.0, -3.0]))
    assert curve.alerts.tolist() == [1, 3]
    assert curve.savings.tolist() == [10.0, 8.0]


def test_without_amounts_a_missed_fraud_costs_what_the_config_says() -> None:
    assert Costs(review=5, missed=70).worth(np.array([1, 0]), None).tolist() == [65.0, -5.0]
