"""Groups: rates and gaps as planted, and what gates read."""

from functools import partial

import numpy as np
import pytest

from ray_mlops.fraud.appraisal import Judged, Scored
from ray_mlops.fraud.fairness import group_table, worst
from ray_mlops.fraud.intervals import day_draws, estimate
from ray_mlops.fraud.slices import Slicing


def planted(share: float, rows: int = 60_000) -> tuple[Judged, Scored, Slicing]:
    """Twenty days; frauds of `a` are caught in half of the cases, those of `b` in `share` of them."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 2, rows)
    labels = random.random(rows) < 0.1
    caught = random.random(rows) < np.where(codes == 0, 0.5, share)
    alerts = np.where(labels, caught, random.random(rows) < 0.02)
    judged = Judged.of(labels, np.ones(rows), random.integers(0, 20 * 86_400, rows), None)
    return judged, Scored(alerts.astype(float), alerts), Slicing("sex", ("a", "b"), codes)


def table(share: float) -> list[dict]:
    judged, scored, grouping = planted(share)
    told = partial(estimate, draws=day_draws(judged.count, 200, 0))
    return group_table(judged, scored, [grouping], told)


def test_a_planted_gap_is_found_with_an_interval_that_leaves_out_zero() -> None:
    a, b = table(0.2)
    assert (a["by"], a["value"], b["value"]) == ("sex", "a", "b")
    assert a["rates"]["tpr"].value == pytest.approx(0.5, abs=0.05)
    assert a["gaps"]["tpr"].value == pytest.approx(0.3, abs=0.07) and a["gaps"]["tpr"].low > 0
    assert b["gaps"]["tpr"].value == pytest.approx(-a["gaps"]["tpr"].value)
    assert abs(a["gaps"]["fpr"].value) < 0.01


def test_groups_treated_alike_have_no_gap() -> None:
    a, _ = table(0.5)
    assert all(abs(gap.value) < 0.03 for gap in a["gaps"].values())


def test_gates_read_the_worst_group() -> None:
    fair, unfair = worst(table(0.5)), worst(table(0.2))
    assert fair["selection_ratio"] > 0.9 and unfair["selection_ratio"] < 0.8
    assert unfair["tpr_gap"] == pytest.approx(0.3, abs=0.07) and fair["fpr_gap"] < 0.01
    assert worst([]) == {}


def test_a_group_of_a_few_frauds_decides_nothing() -> None:
    judged, scored, grouping = planted(0.5)
    few = np.flatnonzero(judged.labels)[:5]
    codes = np.where(np.isin(np.arange(len(judged.labels)), few), 2, grouping.codes)
    told = partial(estimate, draws=day_draws(judged.count, 50, 0))
    found = group_table(judged, scored, [Slicing("sex", ("a", "b", "c"), codes)], told)
    assert found[2]["rows"] == 5
    assert worst(found)["tpr_gap"] < 0.1 and worst(found)["selection_ratio"] > 0.8
