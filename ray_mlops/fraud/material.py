"""From raw events to what the candidates of `decide` learn from and are judged on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from ray_mlops.contract import Interval, Schema
from ray_mlops.errors import DataError
from ray_mlops.fraud.candidates import Lesson
from ray_mlops.fraud.costs import Costs
from ray_mlops.fraud.encoding import encode_numbers, integer_times
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.split import PARTS, Assignment, Split, known_cards


@dataclass(frozen=True)
class Material:
    """The train rows and the validation and test rows after them, in event-time order; `seconds` are the event times
    of the later rows."""

    earlier: Lesson
    later: Lesson
    seconds: np.ndarray


def columns(definition: FeatureDefinition) -> list[str]:
    """The columns of the data that `prepare` reads."""
    data = definition.data
    roles = (data.key, data.time, data.label, data.amount, data.label_time, *data.entities[:1])
    return list(dict.fromkeys((*(role for role in roles if role is not None), *definition.needed)))


def since(definition: FeatureDefinition, intervals: Mapping[str, Interval]) -> datetime | None:
    """The first instant whose events matter: as far back as the windows of train look; None for the very first, which
    a label that arrives late needs."""
    if any(definition.arrival(window) for window in definition.windows):
        return None
    back = max((window.reach_us for window in definition.windows), default=0)
    first = intervals["train"].start  # a validation part before train is not looked at here
    return min(part.start for part in intervals.values() if part.start >= first) - timedelta(microseconds=back)


def one_in(table: pa.Table, data: Schema, share: int) -> pa.Table:
    """The events of one card in `share` (of one event in `share` where there are no cards), chosen by hash: whole
    histories of fewer cards tell more than a piece of every history."""
    if share <= 1:
        return table
    import pandas.util

    hash_array: Any = pandas.util.hash_array
    column: Any = table[data.entities[0] if data.entities else data.key].combine_chunks()
    # Hashing text takes one hash a distinct value, and a missing card is a card like any other here.
    encoded = column.dictionary_encode(null_encoding="encode")
    texts = np.array([str(value) for value in encoded.dictionary.to_pylist()], dtype=object)
    chosen = hash_array(texts) % np.uint64(share) == 0
    return table.filter(pa.array(chosen[encoded.indices.to_numpy(zero_copy_only=False)]))


def prepare(
    raw: pa.Table, definition: FeatureDefinition, split: Split, *, intervals: Mapping[str, Interval], costs: Costs
) -> Material:
    """Compute the features of the events in `raw` (history included) and take the parts of the split, without the
    cards already known. Raises `DataError` when there is nothing before or after the label delay."""
    table = definition.compute(raw)
    parts = _assignment(raw, definition.data, split, intervals).parts(table)
    after = [PARTS.index(name) for name in PARTS[1:] if intervals[name].start >= intervals["train"].end]
    earlier, later = (_ordered(table, np.isin(parts, chosen), definition.data) for chosen in ([0], after))
    if not earlier.num_rows or not later.num_rows:
        empty = "train" if not earlier.num_rows else "validation and test"
        raise DataError(f"decide: there are no labelled rows in {empty}: choose other days in features.split")
    fitted = definition.fitted(earlier)
    seconds = integer_times(later[definition.data.time]) // 1_000_000
    return Material(_lesson(earlier, fitted, costs), _lesson(later, fitted, costs), seconds)


def _assignment(raw: pa.Table, data: Schema, split: Split, intervals: Mapping[str, Interval]) -> Assignment:
    card = data.entities[0] if data.entities and split.remove_known else None
    assignment = Assignment(intervals, data.time, data.label, card)
    if card is None:
        return assignment
    return known_cards(raw.filter(pa.array(encode_numbers(raw[data.label]) == 1)), split, assignment, data.label_time)


def _ordered(table: pa.Table, chosen: np.ndarray, data: Schema) -> pa.Table:
    return table.filter(pa.array(chosen)).sort_by([(data.time, "ascending"), (data.key, "ascending")])


def _lesson(table: pa.Table, definition: FeatureDefinition, costs: Costs) -> Lesson:
    data = definition.data
    labels = (encode_numbers(table[data.label]) == 1).astype(np.int8)
    amounts = None if data.amount is None else np.nan_to_num(encode_numbers(table[data.amount]))
    return Lesson(definition.names, definition.encode(table), labels, costs.stolen(labels, amounts), costs.review)
