"""The rules that stop a hopeless fit: each provoked by its own figures, then by a fit that earns it."""

import math
from pathlib import Path

import pytest

from ray_mlops.algorithms.debug_rules import Debugger, DebugRules
from ray_mlops.errors import TrainingError


def debugger(**rules: float | None) -> Debugger:
    return Debugger(DebugRules.model_validate(rules))


def test_a_healthy_fit_is_left_alone() -> None:
    found = debugger()
    found.inputs(0, 255)
    for done in range(1, 11):
        found.step(2.3 / done, gradient=0.5, weights=10.0)
        found.judged(2.3 / done, 2.4 / done, done=done / 10)
        found.units([0.0, 0.3])
    assert found.losses[0] > found.losses[-1]


@pytest.mark.parametrize(("low", "high", "what"), [(0, 0, "0, which is black"), (7, 7, "7")])
def test_inputs_without_content(low: float, high: float, what: str) -> None:
    with pytest.raises(TrainingError, match=f"all inputs of the first batch are {what}.*transform"):
        debugger().inputs(low, high)


@pytest.mark.parametrize(
    ("loss", "gradient", "what"),
    [(math.nan, 1.0, "loss became nan"), (math.inf, 1.0, "loss became inf"), (1.0, math.nan, "gradient became nan")],
)
def test_numbers_that_are_none(loss: float, gradient: float, what: str) -> None:
    with pytest.raises(TrainingError, match=f"{what}: lower learning_rate"):
        debugger().step(loss, gradient=gradient, weights=1.0)


@pytest.mark.parametrize(("gradient", "what"), [(1e6, "explodes"), (1e-12, "vanishes")])
def test_a_gradient_out_of_bounds_for_a_while(gradient: float, what: str) -> None:
    found = debugger(patience=2)
    found.step(1.0, gradient=gradient, weights=1.0)
    found.step(1.0, gradient=1.0, weights=1.0)
    found.step(1.0, gradient=gradient, weights=1.0)
    with pytest.raises(TrainingError, match=f"the gradient {what}"):
        found.step(1.0, gradient=gradient, weights=1.0)


def test_a_loss_that_does_not_decrease() -> None:
    found = debugger(stalled=0.5)
    found.step(2.3, gradient=1.0, weights=1.0)
    found.judged(2.3, 2.3, done=0.4)
    with pytest.raises(TrainingError, match="does not decrease: 2.3 at first, 2.29 at best after 50% of the fit"):
        found.judged(2.29, 2.3, done=0.5)


def test_a_loss_that_fell_at_once_and_stays_low_is_no_stall() -> None:
    found = debugger(stalled=0.5)
    found.step(2.3, gradient=1.0, weights=1.0)
    for done in (0.3, 0.6, 1.0):
        found.judged(0.1, 0.1, done=done)


def test_a_network_that_knew_the_pictures_before_has_not_stalled() -> None:
    found = debugger(stalled=0.5)
    found.step(0.33, gradient=1.0, weights=1.0)
    found.judged(0.39, 0.03, done=1.0)


def test_rows_learnt_by_heart() -> None:
    found = debugger(overfitting=2.0, patience=2)
    for loss, validation in ((1.0, 0.5), (0.5, 0.6), (0.2, 0.9)):
        found.judged(loss, validation, done=0.2)
    with pytest.raises(TrainingError, match="memorises its rows: the validation loss rose from 0.5 to 1.2"):
        found.judged(0.1, 1.2, done=0.3)


def test_a_fit_that_is_sure_of_every_row_is_none_of_them() -> None:
    found = debugger(overfitting=2.0, patience=2)
    for loss, validation in ((1e-3, 0.0), (1e-4, 2e-5), (5e-5, 5e-5), (2e-5, 7e-5)):
        found.judged(loss, validation, done=0.2)
    assert found.validation[-1] == 7e-5


def test_units_that_answer_nothing() -> None:
    with pytest.raises(TrainingError, match="98% of the units of layer 2 are dead"):
        debugger().units([0.1, 0.98])


def test_a_resumed_fit_is_judged_by_what_the_killed_one_saw(tmp_path: Path) -> None:
    seen = debugger(stalled=0.5)
    seen.step(2.3, gradient=1.0, weights=1.0)
    seen.judged(1.5, 1.6, done=0.2)
    seen.save(str(tmp_path))
    resumed = Debugger.begin(DebugRules(stalled=0.5), str(tmp_path))
    resumed.step(0.5, gradient=1.0, weights=1.0)  # one lucky batch is not where the fit began
    resumed.judged(0.8, 0.9, done=0.5)
    assert resumed.losses == [1.5, 0.8]
    assert Debugger.begin(DebugRules(), None).losses == []


def test_rules_can_be_turned_off() -> None:
    found = debugger(exploding=None, vanishing=None, stalled=None, overfitting=None, dead=None)
    for _ in range(6):
        found.step(2.3, gradient=1e9, weights=1.0)
        found.judged(2.3, 5.0, done=1.0)
        found.units([1.0])
    with pytest.raises(TrainingError, match="validation loss became nan"):
        found.judged(2.3, math.nan, done=1.0)
