"""Compiled steps of the batch windows that follow runs of positive values along a line (see `window_kernel`)."""

import numpy as np

from ray_mlops.platform.compiled import compiled


@compiled
def latest_places(chosen, line_starts):
    """For each event of a line the place of the latest chosen one up to it, -1 where its group has none yet."""
    found = np.empty(len(chosen), np.int64)
    for group in range(len(line_starts) - 1):
        latest = -1
        for j in range(line_starts[group], line_starts[group + 1]):
            if chosen[j]:
                latest = j
            found[j] = latest
    return found


@compiled
def streaks(others, lo, hi):
    """How many events at the end of each window come after the latest of the `others` (places on the line)."""
    found = np.zeros(len(lo), np.int64)
    for i in range(len(lo)):
        if lo[i] < hi[i]:
            found[i] = hi[i] - 1 - max(others[hi[i] - 1], lo[i] - 1)
    return found


@compiled
def ages(times, now, places, lo):
    """Seconds from the event at a place of the line to now, NaN where the place is before the window."""
    found = np.full(len(now), np.nan)
    for i in range(len(now)):
        if places[i] >= lo[i]:
            found[i] = (now[i] - times[places[i]]) / 1e6
    return found
