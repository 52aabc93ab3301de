"""From standings to an answer, at the borders between the answers."""

import numpy as np
import pytest

from ray_mlops.fraud.candidates import Candidate, Kind
from ray_mlops.fraud.contest import Contest, Standing
from ray_mlops.fraud.intervals import day_draws, quotient
from ray_mlops.fraud.verdict import Bar, Judgement, after_contest, before_contest

DAYS = 10
STOLEN = 1_000.0
SPREAD = np.linspace(-1, 1, DAYS)


def standing(kind: Kind, ap: float, savings: float, *, noise: float = 0.0, days: int = DAYS) -> Standing:
    """A candidate whose average precision and savings (a share of the loss) vary by `noise` from day to day."""
    by_day = ap + noise * SPREAD[:days]
    money = np.full(days, savings * STOLEN / days) + noise * STOLEN / days * SPREAD[:days]
    return Standing(
        candidate=Candidate(kind, f"what {kind} looks at", lambda matrix: matrix[:, 0]),
        threshold=0.5,
        held_out=ap,
        average_precision=quotient(by_day, np.ones(days)),
        savings=lambda weights: weights @ money,
        alerts=10,
        caught=5,
        positives=8,
    )


def answer(*models: Standing, days: int = DAYS, bar: Bar | None = None) -> Judgement:
    simple = [
        standing("constant", 0.01, 0.0, days=days),
        standing("single_feature", 0.4, 0.3, days=days),
        standing("rule", 0.3, 0.5, days=days),
    ]
    contest = Contest((*simple, *models), days, STOLEN)
    return after_contest(contest, day_draws(days, 200, 0), bar or Bar())


def test_a_gain_in_ranking_that_costs_nothing_is_enough() -> None:
    found = answer(standing("linear", 0.45, 0.5), standing("boosting", 0.5, 0.5, noise=0.01))
    assert found.answer == "use_ml"
    assert found.ap is not None and found.ap.simple.kind == "single_feature"
    assert found.money is not None and found.money.simple.kind == "rule"
    assert found.ap.interval.value == pytest.approx(0.1)
    assert found.hints == ("Boosting is ahead of a linear model: start with it.",)


def test_a_gain_in_money_alone_is_enough() -> None:
    assert answer(standing("linear", 0.4, 0.6), standing("boosting", 0.39, 0.6)).answer == "use_ml"


def test_a_gain_in_ranking_that_loses_money_is_not() -> None:
    found = answer(standing("linear", 0.3, 0.3), standing("boosting", 0.6, 0.4))
    assert found.answer == "no_ml"
    assert found.hints == ("Review by the rule: what rule looks at.",)


def test_linear_is_preferred_when_it_is_as_good() -> None:
    found = answer(standing("linear", 0.498, 0.7), standing("boosting", 0.5, 0.7))
    assert "Logistic regression" in found.hints[0]


def test_equal_within_a_narrow_interval_is_no_need() -> None:
    assert answer(standing("linear", 0.4, 0.5), standing("boosting", 0.4, 0.5, noise=0.02)).answer == "no_ml"


def test_a_wide_interval_is_no_answer() -> None:
    found = answer(standing("linear", 0.4, 0.5), standing("boosting", 0.45, 0.5, noise=0.8))
    assert found.answer == "collect_more"
    assert "times as many days" in found.hints[0]


def test_one_day_is_no_answer() -> None:
    found = answer(standing("linear", 0.6, 0.6, days=1), standing("boosting", 0.6, 0.6, days=1), days=1)
    assert found.answer == "collect_more"
    assert "one day" in found.reasons[0]


def test_counts_are_judged_before_any_contest() -> None:
    bar = Bar(min_positives=50, min_positives_judged=20)

    def early(earlier: int, later: int) -> str:
        found = before_contest(bar, rows=10_000, positives=200, leaks=(), earlier=earlier, later=later)
        return found.answer if found else "contest"

    assert early(50, 20) == "contest"
    assert early(49, 20) == "collect_more"
    assert early(50, 19) == "collect_more"
    assert before_contest(bar, rows=10_000, positives=200, leaks=()) is None
