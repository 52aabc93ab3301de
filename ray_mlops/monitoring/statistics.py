"""Statistics that merge exactly: any split of the rows, merged in any order, gives the same result to the last bit.

Floating-point sums and randomised sketches depend on the order of the data; these do not, so a profile is the same on
one worker and on a hundred. Each is bounded in size whatever the number of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

UNIT_BITS = 1126  # 2**-1126 divides every finite double, subnormal ones included
HALF_BITS = 26  # a 53-bit mantissa in two halves, so that float64 sums of up to 2**26 halves stay exact
MOST_ROWS = 1 << 26
LARGEST_SQUARED = 1e150
SPLITTER = 2.0**27 + 1  # cuts a mantissa into two halves whose products are exact
MANTISSA_BITS = 9  # 512 bins an octave: a bin is at most 0.2 % wide


@dataclass(frozen=True)
class ExactSum:
    """The sum of doubles without rounding, in whole units of 2**-1126."""

    units: int = 0

    @classmethod
    def of(cls, values: np.ndarray) -> "ExactSum":
        """The sum of finite float64 values."""
        total = 0
        for start in range(0, len(values), MOST_ROWS):
            total += _units(values[start : start + MOST_ROWS])
        return cls(total)

    def __add__(self, other: "ExactSum") -> "ExactSum":
        return ExactSum(self.units + other.units)

    def fraction(self) -> Fraction:
        return Fraction(self.units, 1 << UNIT_BITS)

    def __float__(self) -> float:
        return float(self.fraction())


@dataclass(frozen=True)
class Moments:
    """Count, extremes, mean and standard deviation of finite float64 values (beyond 1e150 the latter is too small)."""

    count: int
    minimum: float
    maximum: float
    total: ExactSum
    squares: ExactSum

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        if not len(values):
            return cls(0, np.inf, -np.inf, ExactSum(), ExactSum())
        low, high = float(values.min()), float(values.max())
        squares, errors = _squares(values)
        return cls(len(values), low, high, ExactSum.of(values), ExactSum.of(squares) + ExactSum.of(errors))

    @classmethod
    def merged(cls, parts: Sequence["Moments"]) -> "Moments":
        return cls(
            sum(part.count for part in parts),
            min(part.minimum for part in parts),
            max(part.maximum for part in parts),
            sum((part.total for part in parts), ExactSum()),
            sum((part.squares for part in parts), ExactSum()),
        )

    @property
    def mean(self) -> float:
        return float(self.total.fraction() / self.count) if self.count else np.nan

    @property
    def std(self) -> float:
        """The sample standard deviation (n - 1)."""
        if self.count < 2:
            return np.nan
        spread = self.squares.fraction() - self.total.fraction() ** 2 / self.count
        return float(max(spread, Fraction(0)) / (self.count - 1)) ** 0.5


@dataclass(frozen=True)
class Tally:
    """Rows and positives per distinct value, exact for the values it keeps.

    All values are kept while there are at most `limit`; beyond that, those whose hash is below `2**(64 - shift)`: a
    uniform sample of the distinct values, with full counts. What is kept depends on the set of values only.
    """

    limit: int
    shift: int
    hashes: np.ndarray
    counts: np.ndarray
    positives: np.ndarray
    values: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        hashes: np.ndarray,
        counts: np.ndarray,
        *,
        positives: np.ndarray,
        limit: int,
        values: Any = None,
        shift: int = 0,
    ) -> "Tally":
        """Tally `(n,)` 64-bit hashes with their rows and positives; `values` `(n,)` name what was hashed."""
        distinct, first, (counts, positives) = _grouped(hashes, counts, positives)
        while (size := int(np.searchsorted(distinct, _largest(shift), side="right"))) > limit:
            shift += 1
        named = None if values is None else values[first[:size]]
        return cls(limit, shift, distinct[:size], counts[:size], positives[:size], named)

    @classmethod
    def merged(cls, parts: Sequence["Tally"]) -> "Tally":
        values = [part.values for part in parts if part.values is not None]
        return cls.of(
            np.concatenate([part.hashes for part in parts]),
            np.concatenate([part.counts for part in parts]),
            positives=np.concatenate([part.positives for part in parts]),
            limit=parts[0].limit,
            values=np.concatenate(values) if values else None,
            shift=max(part.shift for part in parts),
        )

    @property
    def complete(self) -> bool:
        """Whether every distinct value is kept."""
        return self.shift == 0

    @property
    def distinct(self) -> int:
        """The number of distinct values; when not complete an estimate within about `1 / sqrt(limit / 2)`."""
        return len(self.hashes) << self.shift

    @property
    def repeats(self) -> int:
        """Rows beyond the first of each value; an estimate when not complete."""
        return int((self.counts - 1).sum()) << self.shift

    def top(self, size: int) -> np.ndarray:
        """Positions of the most frequent values kept, most frequent first, ties by hash."""
        return np.lexsort((self.hashes, -self.counts))[:size]


@dataclass(frozen=True)
class Bins:
    """Rows and positives in narrow bins with fixed edges, for quantiles, histograms and single-feature power.

    A bin spans values whose distance from `offset` agrees in sign, exponent and the first 9 bits of the mantissa.
    """

    offset: float
    keys: np.ndarray
    counts: np.ndarray
    positives: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, positives: np.ndarray, offset: float = 0.0) -> "Bins":
        """Bin finite float64 values and their 0/1 labels."""
        bits = (values - offset + 0.0).view(np.int64)
        ordered = np.where(bits < 0, np.int64(np.iinfo(np.int64).min) - bits, bits)
        keys = ordered >> (52 - MANTISSA_BITS)
        lowest = keys.min(initial=0)
        counts = np.bincount(keys - lowest)  # at most 2**21 bins exist
        hits = np.bincount(keys - lowest, weights=positives)
        filled = np.flatnonzero(counts)
        return cls(offset, filled + lowest, counts[filled], hits[filled].astype(np.int64))

    @classmethod
    def merged(cls, parts: Sequence["Bins"]) -> "Bins":
        columns = [np.concatenate([getattr(part, name) for part in parts]) for name in ("keys", "counts", "positives")]
        keys, _, (counts, positives) = _grouped(*columns)
        return cls(parts[0].offset, keys, counts, positives)

    def centres(self) -> np.ndarray:
        """The middle of each bin, in the order of the keys."""
        return self.offset + (_edge(self.keys) + _edge(self.keys + 1)) / 2


def mixed(words: np.ndarray) -> np.ndarray:
    """64-bit words scrambled so that every output bit depends on every input bit (the splitmix64 finaliser)."""
    words = words.astype(np.uint64)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _units(values: np.ndarray) -> int:
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    lowest = int(exponent.min(initial=0))
    place = exponent - lowest
    high = np.bincount(place, weights=(whole >> HALF_BITS).astype(np.float64))
    low = np.bincount(place, weights=(whole & ((1 << HALF_BITS) - 1)).astype(np.float64))
    scale = lowest - 53 + UNIT_BITS
    return sum(((int(h) << HALF_BITS) + int(l)) << (scale + i) for i, (h, l) in enumerate(zip(high, low, strict=True)))


def _squares(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The squares as float64, and what rounding took from each (Dekker's product): the variance is a small difference
    of large sums where the mean is far from 0."""
    values = np.clip(values, -LARGEST_SQUARED, LARGEST_SQUARED)
    squares = values * values
    carried = values * SPLITTER
    high = carried - (carried - values)
    low = values - high
    return squares, ((high * high - squares) + 2 * high * low) + low * low


def _grouped(keys: np.ndarray, *weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Distinct keys in order, where each is first seen, and the sums of the whole-number weights per key."""
    if not len(keys):
        return keys, np.zeros(0, np.int64), [np.zeros(0, np.int64) for _ in weights]
    order = np.argsort(keys)
    arranged = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], arranged[1:] != arranged[:-1])))
    sums = [np.add.reduceat(weight.astype(np.int64)[order], starts) for weight in weights]
    return arranged[starts], order[starts], sums


def _largest(shift: int) -> np.uint64:
    """The largest hash kept."""
    return np.uint64((1 << (64 - shift)) - 1)


def _edge(keys: np.ndarray) -> np.ndarray:
    bits = keys << (52 - MANTISSA_BITS)
    return np.where(bits < 0, np.int64(np.iinfo(np.int64).min) - bits, bits).view(np.float64)
