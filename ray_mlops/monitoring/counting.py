"""Values into bins, compiled: one walk over a request's features, or over a million rows of them."""

import math

from ray_mlops.platform.compiled import compiled


@compiled
def count(rows, columns, edges, starts, cells, counts):  # pyright: ignore
    """Add the values of `columns` of `rows` `(rows, width)` to `counts` (int64).

    Feature i has the edges `edges[starts[i]:starts[i + 1]]` and its cells from `cells[i]` on: one more bin than edges,
    each from its edge on, and last the missing values (NaN).
    """
    for row in range(rows.shape[0]):
        for place in range(columns.shape[0]):
            value = rows[row, columns[place]]
            low, high = starts[place], starts[place + 1]
            if math.isnan(value):
                counts[cells[place] + high - low + 1] += 1
                continue
            first = low
            while low < high:
                middle = (low + high) // 2
                if edges[middle] <= value:
                    low = middle + 1
                else:
                    high = middle
            counts[cells[place] + low - first] += 1
