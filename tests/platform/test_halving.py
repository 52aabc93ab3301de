"""Halving: verdicts by trial number, whatever the order in which reports come in."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.platform.halving import Halving

curves = st.lists(st.lists(st.integers(0, 9).map(float), min_size=1, max_size=20), min_size=1, max_size=10)


def searched(trials: list[list[float]], *, slots: int, seed: int, grace: int | None = 2) -> list[int | None]:
    """The verdicts when at most `slots` trials run at once and reports come in in a random order."""
    luck, halving = random.Random(seed), Halving(grace, 3)
    while len(halving.curves) < len(trials) or halving.running:
        live = [trial for trial in range(len(halving.curves)) if trial not in halving._ended]
        if len(halving.curves) < len(trials) and len(live) < slots and (not live or luck.random() < 0.5):
            halving.start()
            continue
        trial = luck.choice(live)
        done = len(halving.curves[trial])
        if done < len(trials[trial]):
            halving.record(trial, done + 1, trials[trial][done])
        if halving.stopped_after(trial) or done + 1 >= len(trials[trial]):
            halving.end(trial)
    return [halving.stopped_after(trial) for trial in range(len(trials))]


@settings(deadline=None)
@given(curves, st.integers(1, 5), st.integers(0, 1000))
def test_order_and_number_of_slots_change_no_verdict(trials: list[list[float]], slots: int, seed: int) -> None:
    assert searched(trials, slots=slots, seed=seed) == searched(trials, slots=1, seed=0)


@settings(deadline=None)
@given(curves)
def test_the_first_trial_always_ends_and_so_does_a_rising_series_of_better_ones(trials: list[list[float]]) -> None:
    assert searched(trials, slots=1, seed=0)[0] is None
    better = [[value + 10 * number for value in range(12)] for number in range(5)]
    assert searched(better, slots=2, seed=1) == [None] * 5


@settings(deadline=None)
@given(curves)
def test_without_grace_nothing_is_stopped(trials: list[list[float]]) -> None:
    assert searched(trials, slots=2, seed=0, grace=None) == [None] * len(trials)


def test_a_verdict_stays_open_until_earlier_trials_have_come_as_far() -> None:
    halving = Halving(grace=2, factor=3)
    first, second = halving.start(), halving.start()
    for report in (1, 2, 3):
        halving.record(second, report, 0.1)
    assert halving.stopped_after(second) is None
    halving.record(first, 1, 0.5)
    halving.record(first, 2, 0.5)
    assert halving.stopped_after(second) == 2
    assert len(halving.running) == 2


def test_a_trial_that_ended_early_is_no_rival_later() -> None:
    halving = Halving(grace=2, factor=3)
    first, second = halving.start(), halving.start()
    halving.record(first, 1, 0.9)
    halving.end(first)
    for report, value in enumerate((0.1, 0.1, 0.1), start=1):
        halving.record(second, report, value)
    assert halving.stopped_after(second) is None


def test_a_report_repeated_after_a_retry_changes_nothing() -> None:
    halving = Halving()
    trial = halving.start()
    for report, value in ((1, 0.1), (2, 0.2), (1, 0.7), (2, 0.8), (3, 0.3)):
        halving.record(trial, report, value)
    assert halving.curves[trial] == pytest.approx([0.1, 0.2, 0.3])
