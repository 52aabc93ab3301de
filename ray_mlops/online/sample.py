"""A small part of a table that tries a feature definition hard: whole recent histories rather than scattered rows."""

import numpy as np
import pyarrow as pa

from ray_mlops.contract import Table
from ray_mlops.fraud.encoding import encode_numbers
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.online.backfill import recent

SHARE = 4  # no entity has more than one in so many of the rows chosen for its kind


def sample(definition: FeatureDefinition, table: pa.Table | Table, rows: int) -> pa.Table:
    """At most `rows` recent rows, ordered by time and key: the histories of some entities of each kind, half of them of
    entities with a positive label. The same table gives the same rows."""
    data = definition.data
    read = recent(definition, table).sort_by([(data.time, "ascending"), (data.key, "ascending")])
    kinds = definition.entities
    if read.num_rows <= rows or not kinds:
        return read.slice(max(read.num_rows - rows, 0))
    order = np.random.default_rng(0).permutation(read.num_rows)
    positive = order[_positive(definition, read)[order]]
    chosen = [
        _histories(codes, some, rows // (2 * len(kinds)))
        for codes in (_codes(read, kind) for kind in kinds)
        for some in (positive, order)
    ]
    return read.take(pa.array(np.unique(np.concatenate(chosen))[-rows:]))


def _histories(codes: np.ndarray, order: np.ndarray, quota: int) -> np.ndarray:
    """About `quota` rows: the latest ones of the entities met first in `order`."""
    most = max(quota // SHARE, 1)
    met, first = np.unique(codes[order], return_index=True)
    met = met[np.argsort(first)]
    met = met[met >= 0]
    sizes = np.minimum(np.bincount(codes + 1)[met + 1], most)
    met = met[: np.searchsorted(np.cumsum(sizes), quota) + 1]
    rows = np.flatnonzero(np.isin(codes, met))[::-1]
    rows = rows[np.argsort(codes[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(codes[rows], prepend=-1))
    newer = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return rows[newer < most]


def _positive(definition: FeatureDefinition, table: pa.Table) -> np.ndarray:
    label = definition.data.label
    if label not in table.column_names:
        return np.zeros(table.num_rows, bool)
    return encode_numbers(table[label]) == 1


def _codes(table: pa.Table, kind: tuple[str, ...]) -> np.ndarray:
    """A number for each row's entity; -1 where it has none."""
    codes = np.zeros(table.num_rows, np.int64)
    for name in kind:
        encoded = table[name].combine_chunks().dictionary_encode()
        part = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        codes = np.where((codes < 0) | (part < 0), -1, codes * (len(encoded.dictionary) + 1) + part)
        codes = np.unique(np.append(codes, -1), return_inverse=True)[1][:-1] - 1
    return codes
