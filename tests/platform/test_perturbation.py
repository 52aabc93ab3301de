"""Who takes over from whom in a population, and how hyperparameters move."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_mlops.contract import Choice, Space, Uniform
from ray_mlops.platform.perturbation import perturbed, successors

SPACE: Space = {
    "rate": Uniform(low=0.01, high=1.0, log=True, live=True),
    "depth": Uniform(low=2, high=9, integer=True, live=True),
    "noise": Uniform(low=0.0, high=0.4, live=True),
    "shape": Choice(values=((8,), (16, 8), (4,)), live=True),
    "width": Choice(values=(1, 2, 3)),
}
SETTINGS = {"rate": 0.1, "depth": 5, "noise": 0.0, "shape": (16, 8), "width": 2}


@given(st.lists(st.floats(0, 1), max_size=20), st.integers(0, 9))
def test_the_worst_quarter_goes_on_from_the_best_and_the_others_from_themselves(values: list[float], seed: int) -> None:
    found = successors(values, np.random.default_rng(seed))
    cut = max(1, len(values) // 4) if len(values) > 1 else 0
    replaced = [member for member, parent in enumerate(found) if member != parent]
    assert len(replaced) == cut
    kept = sorted(value for member, value in enumerate(values) if member not in replaced)
    assert all(values[member] <= kept[0] for member in replaced) or not kept
    best = sorted(values, reverse=True)[:cut]
    assert all(values[found[member]] in best for member in replaced)


@given(st.integers(0, 10_000))
def test_what_is_live_moves_inside_its_range_and_the_rest_stays(seed: int) -> None:
    found = perturbed(SETTINGS, SPACE, np.random.default_rng(seed))
    assert found["width"] == 2
    assert 0.01 <= found["rate"] <= 1.0
    assert found["rate"] != 0.1
    assert isinstance(found["depth"], int)
    assert 2 <= found["depth"] <= 9
    assert 0.0 <= found["noise"] <= 0.4
    assert found["shape"] in SPACE["shape"].values  # type: ignore[union-attr]
    assert found == perturbed(SETTINGS, SPACE, np.random.default_rng(seed))


def test_most_moves_are_small_and_some_go_anywhere() -> None:
    rates = [perturbed(SETTINGS, SPACE, np.random.default_rng(seed))["rate"] for seed in range(400)]
    steps = sum(rate in (pytest.approx(0.08), pytest.approx(0.125)) for rate in rates)
    assert 0.65 < steps / len(rates) < 0.85
    assert min(rates) < 0.02
    assert max(rates) > 0.5


def test_a_value_of_no_choice_is_drawn_from_its_values() -> None:
    odd = {**SETTINGS, "shape": (99,)}
    assert perturbed(odd, SPACE, np.random.default_rng(0))["shape"] in ((8,), (16, 8), (4,))
