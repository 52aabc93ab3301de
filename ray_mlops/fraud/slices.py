"""Slices of judged rows: where a model is strong and where it is weak."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ray_mlops.fraud.encoding import calendar_columns, encode_numbers

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
MOST_VALUES = 12
_AMOUNT_SHARES = (0.25, 0.5, 0.75, 0.95)
_HOURS = ("00-05 h", "06-11 h", "12-17 h", "18-23 h")


@dataclass(frozen=True)
class Slicing:
    """One way to cut rows: the name of what is looked at, its values, and for each row the index of its value
    (-1: in none)."""

    name: str
    values: Sequence[str]
    codes: np.ndarray

    def parts(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each value that has rows, with its rows as a mask."""
        for index, value in enumerate(self.values):
            rows = self.codes == index
            if rows.any():
                yield value, rows

    @property
    def useful(self) -> bool:
        """Whether it tells rows apart at all."""
        return len(np.unique(self.codes[self.codes >= 0])) > 1


def by_amount(amounts: np.ndarray) -> Slicing:
    """Quartiles of the amount, and its highest twentieth."""
    return _by_edges("amount", amounts, np.quantile(amounts, _AMOUNT_SHARES) if len(amounts) else np.empty(0))


def _by_edges(name: str, values: np.ndarray, edges: np.ndarray) -> Slicing:
    """Ranges between edges; NaN is in none."""
    edges = np.unique(edges)
    bounds = [f"{edge:.4g}" for edge in edges]
    lows, highs = ["", *bounds], [*bounds, ""]
    names = [
        f"{low} to {high}" if low and high else f"up to {high}" if high else f"over {low}"
        for low, high in zip(lows, highs, strict=True)
    ]
    return Slicing(name, names, np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="left")))


def by_time(times: np.ndarray, timezone: str) -> tuple[Slicing, Slicing]:
    """Quarters of the day, and weekend against workday, on the wall clock; `times` are microseconds, UTC."""
    hour, weekend = calendar_columns(("hour", "weekend"), times, timezone).T
    return Slicing("hour", _HOURS, hour.astype(np.int64) // 6), Slicing(
        "day", ("workday", "weekend"), weekend.astype(np.int64)
    )


def by_novelty(name: str, column: pa.ChunkedArray, seen: pa.Array) -> Slicing:
    """Entities that the train rows have, against new ones."""
    known = pc.is_in(column, value_set=seen).to_numpy().astype(np.int64)
    return Slicing(name, ("new", "seen in train"), np.where(column.is_null().to_numpy(), -1, known))


def by_value(name: str, column: pa.ChunkedArray) -> Slicing:
    """The most frequent values of a column; the other rows are in no slice. Numbers of many values are cut into quarters."""
    encoded = column.combine_chunks().dictionary_encode()
    if len(encoded.dictionary) > MOST_VALUES and (
        pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    ):
        numbers = encode_numbers(column).astype(np.float64)
        return _by_edges(name, numbers, np.quantile(numbers[np.isfinite(numbers)], (0.25, 0.5, 0.75)))
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    texts = [str(value) for value in encoded.dictionary.to_pylist()]
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    # By count, then by text: the same order whatever the order of the rows.
    kept = sorted(range(len(texts)), key=lambda index: (-counts[index], texts[index]))[:MOST_VALUES]
    place = np.full(len(texts) + 1, -1)
    place[kept] = np.arange(len(kept))
    return Slicing(name, [texts[index] for index in kept], place[codes])
