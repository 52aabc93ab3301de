"""Compiled steps of the batch windows. Flat arrays in, flat arrays out; no Python objects, the GIL released.

Rows are grouped by entity and ordered by (time, key) inside a group; `starts[g]:starts[g + 1]` are the rows of group g.
A *line* is what a window can hold: events in the order of arrival, with the row `pos` that each comes from. Windows are
computed for some rows only, `at` in order and `at_starts` by group; `times` are theirs, `base` is where the line of the
group of each begins, and its window is `lo[i]:hi[i]` on the line.

Sums are kept as pairs of doubles (value and rounding error, some 106 bits) from the first event of the entity on, so
the difference of two of them is the exact sum of the window rounded once, however much came before. (A standard
deviation is good to 1e-9 as long as the values of an entity stay within some ten orders of magnitude.)
"""

import math

import numpy as np

from ray_mlops.platform.compiled import compiled


@compiled
def kept(keep, starts):
    """The rows to keep: (pos, their starts)."""
    pos = np.empty(len(keep), np.int64)
    line_starts = np.zeros_like(starts)
    count = 0
    for group in range(len(starts) - 1):
        for i in range(starts[group], starts[group + 1]):
            pos[count] = i
            count += keep[i]
        line_starts[group + 1] = count
    return pos[:count], line_starts


@compiled
def bases(at_starts, line_starts):
    """Where the line of its group begins, for each row."""
    base = np.empty(at_starts[-1], np.int64)
    for group in range(len(at_starts) - 1):
        base[at_starts[group] : at_starts[group + 1]] = line_starts[group]
    return base


@compiled
def ends(times, at, at_starts, line_starts, arrivals, pos):
    """`hi` of each row: what has arrived by its time, and is not after the row itself."""
    hi = np.empty(len(times), np.int64)
    for group in range(len(at_starts) - 1):
        end, last = line_starts[group], line_starts[group + 1]
        for i in range(at_starts[group], at_starts[group + 1]):
            while end < last and arrivals[end] <= times[i] and pos[end] <= at[i]:
                end += 1
            hi[i] = end
    return hi


@compiled
def begins(times, base, hi, arrivals, span, resolution):
    """`lo` of each row: the first event that arrived after the old edge of its window."""
    lo = np.empty(len(times), np.int64)
    begin = 0
    for i in range(len(times)):
        begin = max(begin, base[i])
        edge = times[i] - span
        if resolution:
            edge -= edge % resolution
        while begin < hi[i] and arrivals[begin] <= edge:
            begin += 1
        lo[i] = begin
    return lo


@compiled
def before(lo, hi, at, pos):
    """`hi` without the row itself."""
    earlier = hi.copy()
    for i in range(len(hi)):
        if hi[i] > lo[i] and pos[hi[i] - 1] == at[i]:
            earlier[i] -= 1
    return earlier


@compiled
def _add(high, low, x, y):
    total = high + x
    back = total - high
    error = (high - (total - back)) + (x - back) + (low + y)
    high = total + error
    return high, error - (high - total)


@compiled
def _product(a, b):
    cut = 134217729.0  # 2^27 + 1 cuts a double into two halves whose products are exact
    a_head = cut * a - (cut * a - a)
    b_head = cut * b - (cut * b - b)
    a_tail, b_tail = a - a_head, b - b_head
    high = a * b
    return high, ((a_head * b_head - high) + a_head * b_tail + a_tail * b_head) + a_tail * b_tail


@compiled
def running(values, line_starts, squared):
    """Running sums of the values (or their squares) of each group as (high, low), each event included in its own."""
    high = np.empty(len(values))
    low = np.empty(len(values))
    for group in range(len(line_starts) - 1):
        total, rest = 0.0, 0.0
        for j in range(line_starts[group], line_starts[group + 1]):
            x, y = _product(values[j], values[j]) if squared else (values[j], 0.0)
            total, rest = _add(total, rest, x, y)
            high[j], low[j] = total, rest
    return high, low


@compiled
def _between(sums, base, lo, hi):
    high, low = sums
    if hi == lo:
        return 0.0, 0.0
    if lo == base:
        return high[hi - 1], low[hi - 1]
    return _add(high[hi - 1], low[hi - 1], -high[lo - 1], -low[lo - 1])


@compiled
def totals(sums, base, lo, hi):
    """The sum over each window, 0 where it is empty."""
    total = np.empty(len(lo))
    for i in range(len(lo)):
        total[i] = _between(sums, base[i], lo[i], hi[i])[0]
    return total


@compiled
def means(total, lo, hi):
    """The totals over the number of events, 0 where there are none."""
    mean = np.empty(len(lo))
    for i in range(len(lo)):
        mean[i] = total[i] / max(hi[i] - lo[i], 1)
    return mean


@compiled
def spreads(sums, squares, base, lo, hi, flat):
    """The population standard deviation, 0 where it is below `flat` times the root mean square."""
    spread = np.zeros(len(lo))
    for i in range(len(lo)):
        count = float(hi[i] - lo[i])
        if count < 2:
            continue
        first, first_rest = _between(sums, base[i], lo[i], hi[i])
        second, second_rest = _between(squares, base[i], lo[i], hi[i])
        x, x_rest = _product(second, count)
        y, y_rest = _product(first, first)
        variance = _add(x, x_rest + second_rest * count, -y, -(y_rest + 2.0 * first * first_rest))[0] / (count * count)
        if variance > 0.0 and math.sqrt(variance) >= flat * math.sqrt(second / count):
            spread[i] = math.sqrt(variance)
    return spread


@compiled
def smallest(values, base, lo, hi):
    """The minimum of each window, NaN where it is empty."""
    found = np.full(len(lo), np.nan)
    queue = np.empty(len(values), np.int64)  # places whose value is below all later ones
    head, tail, end, group = 0, 0, 0, -1
    for i in range(len(lo)):
        if base[i] != group:
            group = end = base[i]
            head = tail = 0
        while end < hi[i]:
            while tail > head and values[queue[tail - 1]] >= values[end]:
                tail -= 1
            queue[tail] = end
            tail += 1
            end += 1
        while head < tail and queue[head] < lo[i]:
            head += 1
        if lo[i] < hi[i]:
            found[i] = values[queue[head]]
    return found


@compiled
def distinct(codes, base, lo, hi, counts):
    """The number of different codes in each window; `counts` is a zero for every code there is."""
    found = np.zeros(len(lo))
    different, begin, end, group = 0, 0, 0, -1
    for i in range(len(lo)):
        if base[i] != group:
            counts[codes[begin:end]] = 0
            group = begin = end = base[i]
            different = 0
        while end < hi[i]:
            different += counts[codes[end]] == 0
            counts[codes[end]] += 1
            end += 1
        while begin < lo[i]:
            counts[codes[begin]] -= 1
            different -= counts[codes[begin]] == 0
            begin += 1
        found[i] = different
    return found


@compiled
def latest(values, lo, hi):
    """The value at the end of each window, NaN where it is empty."""
    found = np.full(len(lo), np.nan)
    for i in range(len(lo)):
        if lo[i] < hi[i]:
            found[i] = values[hi[i] - 1]
    return found
