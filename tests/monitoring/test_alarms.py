import numpy as np
import pytest
from scipy.stats import fisher_exact

from ray_mlops.monitoring import chance
from ray_mlops.monitoring.alarms import Rule, judge, replay
from ray_mlops.monitoring.readings import Reading


def reading(p: float, effect: float = 1.0, name: str = "amount") -> Reading:
    return Reading(monitor="data drift", name=name, rows=100, effect=effect, limit=0.5, chance=p, words="moved")


def test_two_of_three_windows_are_needed():
    rule = Rule(needed=2, windows=3, false_alarms=0.01)
    low, high = [reading(1e-9)], [reading(0.5, effect=0.0)]
    assert not judge([high, high, low], rule)
    (alarm,) = judge([low, high, low], rule)
    assert (alarm.windows, alarm.of) == (2, 3)
    assert judge([low, low], rule) and judge([low], rule)
    assert not judge([low, low, high, high], rule), "only the last three count"


def test_a_small_effect_is_no_alarm_however_certain():
    assert not judge([[reading(0.0, effect=0.4)]] * 3, Rule())


def test_a_large_effect_is_no_alarm_while_chance_may_do_it():
    assert not judge([[reading(0.2)]] * 3, Rule())


def test_windows_add_up():
    windows = [[reading(0.01)]] * 3
    assert not judge(windows[:1], Rule(false_alarms=0.001))
    assert judge(windows, Rule(needed=3, windows=3, false_alarms=0.001))


def test_what_is_promised_holds_for_all_comparisons_together():
    random = np.random.default_rng(0)
    windows = [[reading(float(p), name=str(place)) for place, p in enumerate(random.random(40))] for _ in range(2_000)]
    for needed, of in ((1, 1), (2, 3), (3, 4)):
        rule = Rule(needed=needed, windows=of, false_alarms=0.02)
        fired = np.mean([bool(alarms) for alarms in replay(windows, rule)])
        assert 0.01 < fired < 0.03, (needed, of)


def test_a_rule_that_can_never_fire_is_refused():
    with pytest.raises(ValueError, match="at most windows"):
        Rule(needed=4, windows=3)


@pytest.mark.parametrize("table", [(3, 200, 1, 500), (40, 200, 30, 5_000), (5, 5, 0, 9), (0, 10, 3, 10)])
def test_more_often_is_fishers_exact_test(table):
    cases, rows, earlier, others = table
    counted = [[cases, rows - cases], [earlier, others - earlier]]
    expected = fisher_exact(counted, alternative="greater").pvalue
    assert chance.more_often((cases, rows), (earlier, others)) == pytest.approx(expected, rel=1e-6)


def test_holm_steps_down():
    told = chance.holm(np.array([0.04, 0.001, 0.02, 0.9]), 0.05)
    assert told.tolist() == [False, True, False, False]
    assert chance.holm(np.array([0.01, 0.02]), 0.05).all()


def test_at_least_is_a_binomial_tail():
    assert chance.at_least(1, 1, 0.03) == pytest.approx(0.03)
    assert chance.at_least(2, 3, 0.1) == pytest.approx(3 * 0.01 * 0.9 + 0.001)
