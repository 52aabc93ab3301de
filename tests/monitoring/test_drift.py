import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.monitoring.drift import MIN_ROWS, Rule, chance_level, compare, kolmogorov_smirnov, psi
from ray_mlops.monitoring.sketches import Baseline, Sketch

NAMES = ["amount", "count", "flag", "rare", "gaps"]
counts = st.lists(st.integers(0, 1_000), min_size=3, max_size=3).map(lambda values: np.array(values, float))


def rows(random: np.random.Generator, size: int, scale: float = 1.0) -> np.ndarray:
    gaps = np.where(random.random(size) < 0.1, np.nan, random.normal(size=size))
    columns = (
        random.lognormal(3, 1, size) * scale, random.poisson(2, size), random.random(size) < 0.13,
        random.random(size) < 0.002, gaps,
    )  # fmt: skip
    return np.column_stack(columns).astype(np.float32)


def decided(scores: np.ndarray) -> list[str]:
    return np.where(scores > 0.6, "review", "approve").tolist()


def seen(known: Baseline, random: np.random.Generator, size: int, scale: float = 1.0) -> Baseline:
    sketch = Sketch(known)
    scores = random.beta(0.2, 2, size)
    sketch.add(rows(random, size, scale), scores, decided(scores))
    return sketch.to_baseline()


@pytest.fixture(scope="module")
def known() -> Baseline:
    random = np.random.default_rng(0)
    scores = random.beta(0.2, 2, 20_000)
    return Baseline.of(NAMES, rows(random, 20_000), scores, decisions=decided(scores))


@settings(deadline=None)
@given(counts, counts)
def test_psi_is_symmetric_finite_and_never_negative(before, now):
    found = psi(before, now)
    assert np.isfinite(found) and found >= -1e-12
    assert found == pytest.approx(psi(now, before))


@settings(deadline=None)
@given(counts)
def test_the_same_shares_have_less_than_the_psi_of_chance(before):
    rows = int(before.sum())
    assert psi(before, before * 3) <= chance_level(3, (rows, rows * 3), 0.01)[0]


def test_psi_agrees_with_its_definition():
    before, now = np.array([500.0, 300.0, 200.0]), np.array([300.0, 300.0, 400.0])
    p, q = before / 1000, now / 1000
    assert psi(before, now) == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=0.01)


def test_chance_alone_gives_what_is_said(known):
    random = np.random.default_rng(1)
    found = [{shift.name: shift for shift in compare(known, seen(known, random, 500), Rule())} for _ in range(100)]
    for name in ("score", "amount", "count", "gaps"):
        assert np.mean([each[name].psi for each in found]) == pytest.approx(found[0][name].expected, rel=0.25)


@pytest.mark.parametrize("size", [MIN_ROWS, 200, 2_000])
@pytest.mark.parametrize("limit", [0.0, 0.2])
def test_false_alarms_stay_within_what_is_promised(known, size, limit):
    random = np.random.default_rng(size)
    rule = Rule(limit=limit, false_alarms=0.05)
    alarms = sum(any(s.alarm for s in compare(known, seen(known, random, size), rule)) for _ in range(100))
    assert alarms <= 11  # a rate of 5 % gives more than 11 of 100 once in 235 times


@pytest.mark.parametrize("size", [200, 2_000])
def test_a_shifted_feature_is_named_first_and_alone(known, size):
    shifts = compare(known, seen(known, np.random.default_rng(2), size, scale=3.0), Rule())
    assert [shift.name for shift in shifts if shift.alarm] == ["amount"]
    assert shifts[0].name == "amount" and shifts[0].ks > 0.2
    assert "amount" in str(shifts[0]) and "PSI" in str(shifts[0])


def test_too_few_rows_raise_no_alarm(known):
    shifts = compare(known, seen(known, np.random.default_rng(3), MIN_ROWS - 1, scale=100.0), Rule())
    assert not any(shift.alarm for shift in shifts)


def test_decisions_are_compared_too(known):
    now = seen(known, np.random.default_rng(4), 1_000)
    moved = now.model_copy(update={"decisions": {"review": 600, "block": 400}})
    alarms = {shift.name for shift in compare(known, moved, Rule()) if shift.alarm}
    assert alarms == {"decisions"}


def test_no_traffic_has_no_drift(known):
    shifts = compare(known, Sketch(known).to_baseline(), Rule())
    assert len(shifts) == len(NAMES) + 2
    assert not any(shift.alarm or shift.psi for shift in shifts)


def test_the_chance_level_falls_with_the_sample():
    few, many = chance_level(10, (10_000, 100), 0.01), chance_level(10, (10_000, 10_000), 0.01)
    assert few[0] > many[0] and few[1] > few[0]
    assert chance_level(1, (10, 10), 0.01) == (0.0, 0.0)


def test_kolmogorov_smirnov_of_shares():
    assert kolmogorov_smirnov(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1])) == 1.0
    assert kolmogorov_smirnov(np.array([1, 1]), np.array([5, 5])) == 0.0
    assert kolmogorov_smirnov(np.array([0, 0]), np.array([5, 5])) == 0.0
