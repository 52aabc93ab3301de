"""Compiled steps that bring rows together by entity and in order, and back. The GIL is released.

Rows that are grouped lie together by entity: `starts[g]:starts[g + 1]` are the rows of group g.
"""

import numpy as np

from ray_mlops.platform.compiled import compiled


@compiled
def part_sizes(codes, shift, parts):
    """The rows of each part: the codes with the same bits above `shift`."""
    sizes = np.zeros(parts, np.int64)
    for code in codes:
        sizes[code >> shift] += 1
    return sizes


@compiled
def deal(source, codes, shift, begins, target):
    """Bring the values of each part together, in the order of the rows; few enough parts stay in cache."""
    free = begins.copy()
    for row in range(len(codes)):
        part = codes[row] >> shift
        target[free[part]] = source[row]
        free[part] += 1


@compiled
def collect(source, codes, shift, begins, target):
    """Undo `deal`."""
    free = begins.copy()
    for row in range(len(codes)):
        part = codes[row] >> shift
        target[row] = source[free[part]]
        free[part] += 1


@compiled
def group_rows(codes, first, groups):
    """Stable counting sort of the codes `first ...`: (order, starts), group g at `order[starts[g]:starts[g + 1]]`."""
    starts = np.zeros(groups + 1, np.int64)
    for code in codes:
        starts[code - first + 1] += 1
    for group in range(groups):
        starts[group + 1] += starts[group]
    free = starts[:-1].copy()
    order = np.empty(len(codes), np.int64)
    for row in range(len(codes)):
        group = codes[row] - first
        order[free[group]] = row
        free[group] += 1
    return order, starts


@compiled
def is_ordered(times, keys):
    """Whether the rows are in order of (time, key)."""
    for i in range(1, len(times)):
        if times[i - 1] > times[i] or (times[i - 1] == times[i] and keys[i - 1] > keys[i]):
            return False
    return True


@compiled
def sort_groups(rows, starts, first, second):
    """Order the rows of each group by (first[row], second[row]) in place, merging the runs that are there already."""
    spare = np.empty_like(rows)
    runs = np.empty(len(rows) + 1, np.int64)
    for group in range(len(starts) - 1):
        begin, end = starts[group], starts[group + 1]
        count = 0
        for i in range(begin, end):
            if i == begin or _after(rows[i - 1], rows[i], first, second):
                runs[count] = i
                count += 1
        while count > 1:
            runs[count] = end
            kept = 0
            for run in range(0, count, 2):
                if run + 1 < count:
                    _merge(rows, spare, runs[run], runs[run + 1], runs[run + 2], first, second)
                runs[kept] = runs[run]
                kept += 1
            count = kept


@compiled
def _after(a, b, first, second):
    return first[a] > first[b] or (first[a] == first[b] and second[a] > second[b])


@compiled
def _merge(rows, spare, begin, middle, end, first, second):
    spare[begin:middle] = rows[begin:middle]
    left, right = begin, middle
    for place in range(begin, end):
        if left == middle:
            return
        if right < end and _after(spare[left], rows[right], first, second):
            rows[place] = rows[right]
            right += 1
        else:
            rows[place] = spare[left]
            left += 1


@compiled
def take(source, rows):
    """`source[rows]`."""
    taken = np.empty(len(rows), source.dtype)
    for i in range(len(rows)):
        taken[i] = source[rows[i]]
    return taken


@compiled
def places(wanted, rows):
    """Where each of some wanted rows stands among all that are wanted."""
    place = np.empty(len(wanted), np.int64)
    count = 0
    for row in range(len(wanted)):
        place[row] = count
        count += wanted[row]
    return take(place, rows)


@compiled
def put(target, rows, column):
    """`target[rows] = column`."""
    for i in range(len(rows)):
        target[rows[i]] = column[i]
