"""A share of the rows, chosen by a hash of their key: the same rows however they are read, and all entities and days thinned alike."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute


def thinned(table: pa.Table, key: str, share: float) -> pa.Table:
    """The rows of a share in (0, 1]; those without a key, which are no rows, stay."""
    if share >= 1:
        return table
    from pandas import util

    keys: Any = table[key].combine_chunks()
    codes: Any = util.hash_array(keys.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False))  # pyright: ignore
    return table.filter(pc.or_(pa.array(codes < np.uint64(share * 2.0**64)), keys.is_null()))
