"""The handbook's daily card reviews, against a plain implementation and its published figures."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.fraud.cards import card_codes, card_figures, card_precision_at_k, card_recall_at_k, daily_reviews

Event = tuple[int, int, float, bool]  # day, card, score, fraud


def reviewed_by_hand(events: list[Event], days: int, k: int) -> tuple[list[int], list[int]]:
    """Found and compromised cards of each day, with dictionaries and sorting."""
    caught: set[int] = set()
    found, compromised = [], []
    for day in range(days):
        pool: dict[int, tuple[float, bool]] = {}
        for _, card, score, fraud in (event for event in events if event[0] == day and event[1] not in caught):
            top, bad = pool.get(card, (-1.0, False))
            pool[card] = (max(top, score), bad or fraud)
        first = sorted(pool, key=lambda card: (-pool[card][0], card))[:k]
        hits = [card for card in first if pool[card][1]]
        compromised.append(sum(bad for _, bad in pool.values()))
        found.append(len(hits))
        caught.update(hits)
    return found, compromised


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 6), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()),
        min_size=1,
        max_size=50,
    ),
    st.integers(1, 4),
)
def test_reviews_are_those_done_by_hand(events: list[Event], k: int) -> None:
    days, cards, scores, labels = (np.array(column) for column in zip(*events, strict=True))
    found = daily_reviews(cards, scores, labels, days, k=k)
    assert (found.found.tolist(), found.compromised.tolist()) == reviewed_by_hand(events, int(days.max()) + 1, k)


def test_a_found_card_leaves_the_pool() -> None:
    days, cards = np.array([0, 0, 1, 1]), np.array([7, 8, 7, 8])
    labels, scores = np.array([1, 1, 1, 1]), np.array([0.9, 0.1, 0.9, 0.1])
    found = daily_reviews(cards, scores, labels, days, k=1)
    assert found.found.tolist() == [1, 1]
    assert found.compromised.tolist() == [2, 1]
    assert card_precision_at_k(cards, scores, labels, days, k=1) == 1.0
    assert card_recall_at_k(cards, scores, labels, days, k=1) == pytest.approx(2 / 3)


def test_rows_without_a_card_and_days_without_cards_are_left_out() -> None:
    days, cards = np.array([0, 1, 2]), np.array([-1, -1, 4])
    found = daily_reviews(cards, np.ones(3), np.ones(3), days, k=5)
    assert found.found.tolist() == [0, 0, 1]
    nobody = daily_reviews(np.full(3, -1), np.ones(3), np.ones(3), days, k=5)
    assert nobody.found.tolist() == [0, 0, 0]


def test_codes_follow_the_values_and_not_the_rows() -> None:
    names = pa.chunked_array([["b", None], ["a", "b"]])
    assert card_codes(names).tolist() == [1, -1, 0, 1]


def test_a_perfect_score_attains_the_published_ceiling_of_chapter_3(shared_data: Path) -> None:
    columns = ["TX_DATETIME", "CUSTOMER_ID", "TX_FRAUD"]
    table = pq.read_table(shared_data / "handbook" / "transactions.parquet", columns=columns)
    day = table["TX_DATETIME"].cast(pa.int64()).to_numpy() // 86_400_000
    card, label = table["CUSTOMER_ID"].to_numpy(), table["TX_FRAUD"].to_numpy()
    train = int(datetime(2018, 7, 25, tzinfo=UTC).timestamp()) // 86_400
    rows = []
    for test in range(train + 14, train + 21):
        # Known by then: cards with a fraud in the train week or on a day a week or more before.
        known = card[(label > 0) & (day >= train) & ((day < train + 7) | (day < test - 7))]
        rows.append(np.flatnonzero((day == test) & ~np.isin(card, known)))
    chosen = np.concatenate(rows)
    assert (len(chosen), int(label[chosen].sum())) == (58_264, 385)
    figures = card_figures(card[chosen], label[chosen], label[chosen], day[chosen] - train - 14, k=100)
    assert figures["precision"] == pytest.approx(0.397, abs=0.0005)
    assert figures["recall"] == 1.0
