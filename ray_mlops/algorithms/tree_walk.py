"""The walk through boosted trees, compiled."""

import math
from functools import partial

from ray_mlops.algorithms.tree_codes import LEAF, NAN, ZERO
from ray_mlops.platform.compiled import compiled

_SMALL = 1e-35  # LightGBM takes what is no larger for zero


@partial(compiled, nogil=False)  # it takes microseconds; to get the GIL back from another thread may take longer
def walk(rows, trees, scores):  # pyright: ignore
    """Write into `scores` what the trees, the fields of `trees.Trees` in order, say of each of the rows."""
    roots, feature, threshold, left, right, rule, start, most = trees
    one = scores.dtype.type(1)
    for place in range(rows.shape[0]):
        margin = start
        for root in roots:
            node = root
            while feature[node] != LEAF:
                value = rows[place, feature[node]]
                missing = rule[node] >> 1
                unknown = math.isnan(value)
                if unknown and missing != NAN:
                    value, unknown = rows.dtype.type(0), False
                if unknown or (missing == ZERO and abs(value) <= _SMALL):
                    goes_left = rule[node] & 1 == 1
                else:
                    goes_left = value <= threshold[node]
                node = left[node] if goes_left else right[node]
            margin += threshold[node]
        scores[place] = one / (one + math.exp(min(-margin, most)))
