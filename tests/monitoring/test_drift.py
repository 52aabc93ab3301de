import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from ray_mlops.monitoring.alarms import Rule, judge
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.drift import Limits, compare, jensen_shannon, kolmogorov_smirnov, psi, reading, wasserstein
from ray_mlops.monitoring.readings import Reading
from ray_mlops.monitoring.sketches import Sketch, baseline_of

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
    sketch = Sketch(known, NAMES)
    scores = random.beta(0.2, 2, size)
    sketch.add(rows(random, size, scale), scores.tolist(), decided(scores))
    return sketch.to_baseline()


def readings(known: Baseline, now: Baseline, limit: float = 0.2) -> list[Reading]:
    return list(compare(known, now, Limits(psi=limit)))


@pytest.fixture(scope="module")
def known() -> Baseline:
    random = np.random.default_rng(0)
    scores = random.beta(0.2, 2, 20_000)
    return baseline_of(NAMES, rows(random, 20_000), scores, decisions=decided(scores))


@given(counts, counts)
def test_psi_is_symmetric_finite_and_never_negative(before, now):
    found = psi(before, now)
    assert np.isfinite(found) and found >= -1e-12
    assert found == pytest.approx(psi(now, before))


@given(counts)
def test_the_same_shares_have_less_than_the_psi_of_chance(before):
    found = reading("same", before.astype(int).tolist(), (before * 3).astype(int).tolist(), Limits())
    assert found.effect <= 0 or not before.sum()
    assert not found.exceeds


def test_psi_agrees_with_its_definition():
    before, now = np.array([500.0, 300.0, 200.0]), np.array([300.0, 300.0, 400.0])
    p, q = before / 1000, now / 1000
    assert psi(before, now) == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=0.01)


def test_distances_agree_with_scipy():
    edges = (0.0, 1.0, 3.0, 3.5)
    before, now = np.array([0, 20, 70, 10, 0.0]), np.array([0, 50, 30, 20, 0.0])
    assert jensen_shannon(before, now) == pytest.approx(jensenshannon(before, now, base=2))
    # Between its edges the mass of a bin is spread evenly: as fine points it is what scipy measures.
    points = np.linspace(0, 3.5, 7_001)[:-1] + 3.5 / 14_000
    places = np.searchsorted(edges, points, side="right")
    weights = [(side / np.bincount(places, minlength=5).clip(1))[places] for side in (before, now)]
    exact = wasserstein_distance(points, points, *weights)
    assert wasserstein(edges, before, now) == pytest.approx(exact / 3.0, rel=0.01)


def test_chance_alone_gives_what_is_said(known):
    random = np.random.default_rng(1)
    found = [{one.name: one for one in readings(known, seen(known, random, 500))} for _ in range(100)]
    for name in ("score", "feature amount", "feature count", "feature gaps"):
        measures = [each[name].measures for each in found]
        assert np.mean([one["psi"] for one in measures]) == pytest.approx(measures[0]["expected"], rel=0.25)
        assert np.mean([each[name].chance < 0.2 for each in found]) < 0.33


@pytest.mark.parametrize("size", [200, 2_000])
@pytest.mark.parametrize("limit", [1e-9, 0.2])
def test_false_alarms_stay_within_what_is_promised(known, size, limit):
    random = np.random.default_rng(size)
    rule = Rule(false_alarms=0.05, needed=1, windows=1)
    alarms = sum(bool(judge([readings(known, seen(known, random, size), limit)], rule)) for _ in range(100))
    assert alarms <= 11  # a rate of 5 % gives more than 11 of 100 once in 235 times


@pytest.mark.parametrize("size", [200, 2_000])
def test_a_shifted_feature_is_named_alone(known, size):
    alarms = judge([readings(known, seen(known, np.random.default_rng(2), size, scale=3.0))], Rule())
    assert [alarm.key for alarm in alarms] == ["data drift: feature amount"]
    assert "PSI" in str(alarms[0]) and "1 of 1 windows" in str(alarms[0])


def test_decisions_are_compared_too(known):
    now = seen(known, np.random.default_rng(4), 1_000)
    moved = now.model_copy(update={"decisions": {"review": 600, "block": 400}})
    assert [alarm.key for alarm in judge([readings(known, moved)], Rule())] == ["data drift: decisions"]


def test_another_measure_may_decide(known):
    now = seen(known, np.random.default_rng(5), 2_000, scale=1.3)
    (amount,) = [one for one in compare(known, now, Limits(ks=0.05)) if one.name == "feature amount"]
    assert amount.exceeds and amount.effect == amount.measures["ks"] and "KS" in amount.words


def test_no_traffic_has_no_drift(known):
    found = readings(known, Sketch(known).to_baseline())
    assert len(found) == len(NAMES) + 2
    assert not any(one.exceeds or one.measures["psi"] for one in found) and not judge([found], Rule())


def test_kolmogorov_smirnov_of_shares():
    assert kolmogorov_smirnov(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1])) == 1.0
    assert kolmogorov_smirnov(np.array([1, 1]), np.array([5, 5])) == 0.0
    assert kolmogorov_smirnov(np.array([0, 0]), np.array([5, 5])) == 0.0
