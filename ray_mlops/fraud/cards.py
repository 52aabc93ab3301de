"""Daily reviews of cards: precision and recall of the `k` cards looked at each day.

The protocol of the Fraud Detection Handbook: on each day a card counts with its highest score, the `k` highest cards
are reviewed, and a card found compromised leaves the pool on all later days. A card is compromised on a day on which
it has a fraud. Equal scores are ordered by card.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ray_mlops.fraud.intervals import Metric, quotient

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


@dataclass(frozen=True)
class Reviews:
    """By day: compromised cards `found` among the `k` reviewed, and `compromised` cards in the pool that day."""

    found: np.ndarray
    compromised: np.ndarray
    k: int

    def precision(self) -> Metric:
        """Found cards over reviewed ones: the mean over days of the handbook's card precision@k."""
        return quotient(self.found, np.full(len(self.found), float(self.k)))

    def recall(self) -> Metric:
        """Found cards over the compromised cards in the pool, summed over days; NaN where there are none."""
        return quotient(self.found, self.compromised)


def daily_reviews(
    cards: np.ndarray, scores: np.ndarray, labels: np.ndarray, days: np.ndarray, *, k: int = 100
) -> Reviews:
    """Review the `k` highest cards of each day. `cards` are integer codes, `days` positions 0, 1, …, `(rows,)` each;
    rows with a negative card code (no card) are left out."""
    count = int(days.max(initial=-1)) + 1
    day, card, top, bad = _card_days(cards, scores, labels, days)
    order = np.lexsort((card, -top, day))
    card, bad = card[order], bad[order]
    bounds = np.searchsorted(day[order], np.arange(count + 1))
    caught = np.zeros(int(card.max(initial=-1)) + 1, dtype=bool)
    found, compromised = np.zeros(count), np.zeros(count)
    for position, (start, end) in enumerate(pairwise(bounds)):
        pool = start + np.flatnonzero(~caught[card[start:end]])
        reviewed = pool[:k]
        caught[card[reviewed[bad[reviewed]]]] = True
        found[position] = bad[reviewed].sum()
        compromised[position] = bad[pool].sum()
    return Reviews(found, compromised, k)


def _card_days(
    cards: np.ndarray, scores: np.ndarray, labels: np.ndarray, days: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One row for each card and day: day, card, highest score, whether there was a fraud."""
    known = cards >= 0
    cards, scores, labels, days = (
        cards[known],
        np.asarray(scores, dtype=np.float64)[known],
        np.asarray(labels)[known],
        days[known],
    )
    order = np.lexsort((cards, days))
    day, card = days[order], cards[order]
    starts = np.flatnonzero(np.r_[True, (day[1:] != day[:-1]) | (card[1:] != card[:-1])][: len(day)])
    if not len(starts):
        return day, card, scores, labels > 0
    top = np.maximum.reduceat(scores[order], starts)
    return day[starts], card[starts], top, np.maximum.reduceat(labels[order], starts) > 0


CardFigure = Literal["precision", "recall", "attainable_precision", "attainable_recall"]


def card_figures(
    cards: np.ndarray, scores: np.ndarray, labels: np.ndarray, days: np.ndarray, *, k: int = 100
) -> Mapping[CardFigure, float]:
    """Card precision@k and card recall@k beside the values that a perfect score attains on the same rows."""
    figures: dict[CardFigure, float] = {}
    everything = np.ones((1, int(days.max(initial=-1)) + 1))
    actual = daily_reviews(cards, scores, labels, days, k=k)
    perfect = daily_reviews(cards, labels, labels, days, k=k)
    figures["precision"] = float(actual.precision()(everything)[0])
    figures["recall"] = float(actual.recall()(everything)[0])
    figures["attainable_precision"] = float(perfect.precision()(everything)[0])
    figures["attainable_recall"] = float(perfect.recall()(everything)[0])
    return figures


def card_precision_at_k(
    cards: np.ndarray, scores: np.ndarray, labels: np.ndarray, days: np.ndarray, *, k: int = 100
) -> float:
    """Mean over days of the share of compromised cards among the `k` reviewed."""
    return card_figures(cards, scores, labels, days, k=k)["precision"]


def card_recall_at_k(
    cards: np.ndarray, scores: np.ndarray, labels: np.ndarray, days: np.ndarray, *, k: int = 100
) -> float:
    """Share of compromised cards in the daily pools that the `k` reviews a day find."""
    return card_figures(cards, scores, labels, days, k=k)["recall"]


def card_codes(column: pa.ChunkedArray) -> np.ndarray:
    """Integer codes of cards, in the order of their values; -1 where there is none."""
    encoded = column.combine_chunks().dictionary_encode()
    rank = np.empty(len(encoded.dictionary) + 1, dtype=np.int64)
    rank[np.asarray(pc.array_sort_indices(encoded.dictionary))] = np.arange(len(encoded.dictionary))
    rank[-1] = -1
    return rank[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
