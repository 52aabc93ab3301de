"""A sample of a table: few rows, whole recent histories, the same each time."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ray_mlops.fraud.features import FeatureDefinition, Window
from ray_mlops.online.sample import sample
from tests.online.events import DAY, NOON, card_and_shop, definition, event, table


def a_table(made: FeatureDefinition, rows: int = 4_000) -> pa.Table:
    random = np.random.default_rng(0)
    events = [
        event(
            n,
            NOON + n * DAY // 400,
            card=int(random.integers(200)) if n % 50 else None,
            shop=f"s{random.integers(80)}",
            fraud=int(n % 250 == 249),
        )
        for n in range(rows)
    ]
    return table(made.data, events)


def ids(rows: pa.Table, card: int) -> list[int]:
    return rows.filter(pc.equal(rows["card"], card))["id"].to_pylist()


def is_end(some: list[int], of: list[int]) -> bool:
    return some == of[-len(some) :]


def test_a_sample_is_small_ordered_recent_and_always_the_same() -> None:
    made = card_and_shop()
    rows = a_table(made)
    chosen = sample(made, rows, 500)
    assert 250 <= chosen.num_rows <= 500
    assert chosen["at"].to_pylist() == sorted(chosen["at"].to_pylist())
    assert len(set(chosen["id"].to_pylist())) == chosen.num_rows
    assert chosen.equals(sample(made, rows.take(np.random.default_rng(1).permutation(rows.num_rows)), 500))


def test_entities_come_with_their_histories_and_some_with_fraud() -> None:
    made = card_and_shop()
    rows = a_table(made)
    chosen = sample(made, rows, 500)
    latest = [card for card in range(200) if len(ids(chosen, card)) > 5 and is_end(ids(chosen, card), ids(rows, card))]
    assert len(latest) >= 5
    assert sum(rows["fraud"].to_pylist()) == 16 and sum(chosen["fraud"].to_pylist()) >= 5


def test_one_busy_entity_does_not_fill_the_sample() -> None:
    made = definition(Window(entity="shop", value="amount", spans=(1.0,), aggregates=("count",)))
    rows = table(made.data, [event(n, NOON + n, shop="a" if n % 10 else f"s{n}") for n in range(3_000)])
    chosen = sample(made, rows, 400)
    assert 50 <= chosen["shop"].to_pylist().count("a") <= 110
    assert len(set(chosen["shop"].to_pylist())) > 50


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_a_small_table_is_its_own_sample(rows: int) -> None:
    made = card_and_shop()
    few = table(made.data, [event(n, NOON + n) for n in range(rows)])
    assert sample(made, few, 100)["id"].to_pylist() == list(range(rows))


def test_without_entities_the_last_rows_are_taken() -> None:
    made = FeatureDefinition(data=card_and_shop().data, inputs=("amount",))
    chosen = sample(made, table(made.data, [event(n, NOON + n) for n in range(50)]), 10)
    assert chosen["id"].to_pylist() == list(range(40, 50))
