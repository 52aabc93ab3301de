"""Rules: what they catch, and that the search finds the best one."""

from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.contract import Condition, Rule
from ray_mlops.errors import DataError
from ray_mlops.fraud.rules import find_rule, flags, spoken

SMALL = {"a": np.array([1.0, 5.0, np.nan, 9.0]), "shop": np.array(["x", None, "y", "x"], dtype=object)}


def condition(column: str, operator: str, value: float | str) -> Condition:
    return Condition.model_validate({"column": column, "operator": operator, "value": value})


def test_conditions_mean_what_they_say_and_missing_values_meet_none() -> None:
    high, low, shop = condition("a", ">=", 5.0), condition("a", "<", 5.0), condition("shop", "==", "x")
    assert flags(Rule(conditions=(high,)), SMALL).tolist() == [False, True, False, True]
    assert flags(Rule(conditions=(low,)), SMALL).tolist() == [True, False, False, False]
    assert flags(Rule(conditions=(high, shop)), SMALL).tolist() == [False, False, False, True]
    assert flags(Rule(conditions=(high, shop), join="or"), SMALL).tolist() == [True, True, False, True]


def test_one_hot_features_are_spoken_as_column_and_value() -> None:
    rule = Rule(conditions=(condition("shop=x", "==", 1.0), condition("shop=y", "==", 0.0)))
    assert spoken(rule) == "shop is x and shop is not y"
    assert spoken(Rule(conditions=(condition("night", "==", 1.0),))) == "night == 1"


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="'b', which is not among a, shop"):
        flags(Rule(conditions=(condition("b", ">=", 1.0),)), SMALL)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_value_at_the_threshold_is_caught_in_either_precision(kind: type) -> None:
    for value in (0.1, 0.7, 0.033, 219.99):
        rule = Rule(conditions=(condition("a", ">=", value),))
        assert flags(rule, {"a": np.array([value], dtype=kind)}).all()


def lesson(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    amount, rate, night = generator.gamma(2, 30, rows), generator.random(rows) ** 4, generator.random(rows) < 0.3
    noise = generator.random((rows, 3))
    return np.column_stack([amount, rate, night, noise]).astype(np.float32), amount


NAMES = ("amount", "rate", "night", "n1", "n2", "n3")


def found_on(matrix: np.ndarray, labels: np.ndarray, amounts: np.ndarray, review: float = 5.0) -> Rule:
    rule = find_rule(NAMES, matrix, labels, stolen=labels * amounts, review=review)
    assert rule is not None
    return rule


def test_a_planted_or_rule_is_found_in_round_numbers() -> None:
    matrix, amounts = lesson(40_000, 0)
    labels = (matrix[:, 0] >= 220) | (matrix[:, 1] >= 0.9)
    rule = found_on(matrix, labels, amounts)
    assert rule.join == "or"
    assert {c.column for c in rule.conditions} == {"amount", "rate"}
    assert all(len(f"{c.value:g}") <= 5 for c in rule.conditions)
    caught = flags(rule, dict(zip(NAMES, matrix.T, strict=True)))
    assert (caught & labels).sum() / labels.sum() > 0.9


def test_a_planted_and_rule_with_a_switch_is_found() -> None:
    matrix, amounts = lesson(40_000, 1)
    labels = (matrix[:, 0] >= 150) & (matrix[:, 2] == 1)
    rule = found_on(matrix, labels, amounts, review=20.0)
    assert rule.join == "and"
    assert {str(c) for c in rule.conditions if c.column == "night"} == {"night == 1"}


def test_one_condition_is_kept_where_a_second_brings_nothing() -> None:
    matrix, amounts = lesson(20_000, 2)
    rule = found_on(matrix, matrix[:, 0] >= 200, amounts)
    assert [c.column for c in rule.conditions] == ["amount"]


def test_where_no_alert_pays_the_rule_that_ranks_best_is_found() -> None:
    matrix, amounts = lesson(20_000, 3)
    rule = found_on(matrix, matrix[:, 1] >= 0.8, amounts, review=10_000.0)
    assert [c.column for c in rule.conditions] == ["rate"]


def test_there_is_no_rule_without_positives_or_variation() -> None:
    labels, stolen = np.array([True] + [False] * 49), np.ones(50)
    assert find_rule(("a",), np.ones((50, 1), np.float32), labels, stolen=stolen, review=1) is None
    assert (
        find_rule(("a",), np.arange(50, dtype=np.float32)[:, None], ~labels & labels, stolen=stolen, review=1) is None
    )
    assert find_rule(("a",), np.full((50, 1), np.nan, np.float32), labels, stolen=stolen, review=1) is None


def every_rule(names: tuple[str, ...], levels: range) -> list[Rule]:
    singles = [condition(name, op, float(level)) for name in names for level in levels for op in (">=", "<")]
    pairs = combinations_with_replacement(singles, 2)
    joined = [Rule.model_validate({"conditions": pair, "join": join}) for pair, join in product(pairs, ("and", "or"))]
    return [Rule(conditions=(one,)) for one in singles] + joined


RULES = every_rule(("a", "b"), range(1, 4))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2, 3, np.nan]), st.integers(0, 3), st.booleans(), st.floats(1, 50)),
        min_size=4,
        max_size=60,
    ),
    st.sampled_from([1.0, 8.0]),
)
def test_no_rule_on_small_whole_numbers_saves_more(rows: list[tuple[float, int, bool, float]], review: float) -> None:
    a, b, labels, amounts = (np.array(column) for column in zip(*rows, strict=True))
    matrix, stolen = np.column_stack([a, b]).astype(np.float32), labels * amounts
    columns = {"a": matrix[:, 0], "b": matrix[:, 1]}

    def savings(rule: Rule) -> float:
        return float((stolen - review)[flags(rule, columns)].sum())

    def divides(condition: Condition) -> bool:
        known = columns[condition.column][~np.isnan(columns[condition.column])]
        return len(set(flags(Rule(conditions=(condition,)), {condition.column: known}))) == 2

    dividing = {str(condition) for rule in RULES for condition in rule.conditions if divides(condition)}
    legal = [rule for rule in RULES if dividing.issuperset(map(str, rule.conditions))]
    best = max((savings(rule) for rule in legal), default=0.0)
    found = find_rule(("a", "b"), matrix, labels, stolen=stolen, review=review)
    if found is not None and best > 0:
        assert savings(found) >= best / 1.011 - 1e-6
