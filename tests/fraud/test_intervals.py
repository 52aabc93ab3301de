"""The bootstrap resamples days, not rows, and pairs what is drawn together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.fraud.intervals import day_draws, day_index, estimate, minus, ratio, total


def test_draws_resample_as_many_days_as_there_are_and_repeat_with_the_seed() -> None:
    draws = day_draws(7, 50, seed=3)
    assert draws.shape == (50, 7)
    assert (draws.sum(axis=1) == 7).all()
    assert (draws == day_draws(7, 50, seed=3)).all()
    assert (draws != day_draws(7, 50, seed=4)).any()


def test_days_are_utc_days_and_are_numbered_without_gaps() -> None:
    dates, index = day_index(np.array([86_399, 86_400, 5 * 86_400, 0]))
    assert dates.tolist() == [0, 1, 5]
    assert index.tolist() == [0, 1, 2, 0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5)), min_size=1, max_size=40), st.integers(0, 100))
def test_a_weighted_total_is_the_total_of_repeated_days(rows: list[tuple[int, float]], seed: int) -> None:
    days, values = np.array([day for day, _ in rows]), np.array([value for _, value in rows])
    (draw,) = day_draws(4, 1, seed)
    repeated = sum(value * draw[day] for day, value in rows)
    assert total(values, days, 4)(draw[None])[0] == pytest.approx(repeated)


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    days = np.repeat(np.arange(40), 5)
    covered = 0
    for round_ in range(100):
        values = np.repeat(generator.normal(2.0, 1.0, 40), 5)
        mean = ratio(values, np.ones(200), days, 40)
        found = estimate(mean, day_draws(40, 200, round_))
        covered += found.low <= 2.0 <= found.high
    assert 85 <= covered <= 100


def test_paired_differences_are_narrower_than_either_metric() -> None:
    generator = np.random.default_rng(1)
    days = np.repeat(np.arange(20), 3)
    noise = np.repeat(generator.normal(0, 5, 20), 3)
    one = total(noise + 1.1 + generator.normal(0, 0.01, 60), days, 20)
    other = total(noise + 1.0, days, 20)
    draws = day_draws(20, 200, 0)
    gain = estimate(minus(one, other), draws)
    assert gain.low > 0
    assert gain.width < estimate(one, draws).width / 50


def test_one_day_gives_a_value_but_no_interval() -> None:
    found = estimate(total(np.ones(3), np.zeros(3, dtype=int), 1), day_draws(1, 20, 0))
    assert found.value == 3
    assert np.isnan(found.low) and np.isnan(found.high)


def test_replicates_without_the_rows_that_define_a_metric_are_left_out() -> None:
    only_first = ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0]), np.array([0, 1]), 2)
    found = estimate(only_first, day_draws(2, 100, 0))
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)
