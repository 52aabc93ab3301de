"""The windows of some whole entities, few enough rows to stay in cache: the compiled steps put together."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ray_mlops.fraud import window_kernel as kernel
from ray_mlops.fraud import window_order as order
from ray_mlops.fraud.event_columns import Columns
from ray_mlops.fraud.window_earlier import Earlier
from ray_mlops.fraud.window_line import Ends, Line
from ray_mlops.fraud.windows import EARLIER, FLAT, NEVER, Aggregate, Window

Key = tuple[str | None, int]  # value and delay of a window


@dataclass(frozen=True)
class Part:
    """Rows of whole entities, together by entity and ordered by (time, key): group g is `starts[g]:starts[g + 1]`. The
    windows of the rows `at` are computed, `at_starts` by group, and row `at[i]` is to be put at `places[i]`."""

    starts: np.ndarray
    columns: Columns
    at: np.ndarray
    at_starts: np.ndarray
    places: np.ndarray
    lines: dict[Key, Line] = field(default_factory=dict)
    ends: dict[Key, Ends] = field(default_factory=dict)
    spikes: dict[Window, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Columns, rows: np.ndarray, starts: np.ndarray, wanted: np.ndarray | None) -> "Part":
        """`rows` brings the columns together by entity; `wanted` are the rows, as the columns have them, that count."""
        if columns.keys is not None:
            order.sort_groups(rows, starts, columns.times, columns.keys)
        columns = columns.mapped(lambda column: order.take(column, rows))
        if wanted is None:
            return cls(starts, columns, np.arange(len(rows)), starts, rows)
        at, at_starts = kernel.kept(order.take(wanted, rows), starts)
        return cls(starts, columns, at, at_starts, order.places(wanted, order.take(rows, at)))

    def features(self, window: Window) -> Iterator[np.ndarray]:
        """One column (float64, a value for each row of `at`) for each of `window.names()`."""
        ends, current = self._ends(window), self._current(window)
        for span in window.spans_us:
            lo = ends.begins(span, window.resolution_us)
            earlier = Earlier(ends, current, lo)
            yield from (self._column(aggregate, window, earlier) for aggregate in window.aggregates)

    def _column(self, aggregate: Aggregate, window: Window, earlier: Earlier) -> np.ndarray:
        if aggregate == "spikes":
            return earlier.count(self._spikes(window))
        if aggregate in EARLIER:
            return getattr(earlier, aggregate)()
        return _aggregate(aggregate, earlier.ends, earlier.lo)

    def _current(self, window: Window) -> np.ndarray | None:
        """The values of the rows themselves."""
        values = self.columns.values.get(window.value or "")
        return None if values is None else order.take(values, self.at)

    def _spikes(self, window: Window) -> np.ndarray:
        """Which events of the line are spikes, by their own ratio to the days before them; also of rows not wanted."""
        if window in self.spikes:
            return self.spikes[window]
        whole = replace(self, at=np.arange(len(self.columns.times)), at_starts=self.starts, ends={})
        ends = whole._ends(window)
        lo = ends.begins(window.baseline_us, window.resolution_us)
        usual = Earlier(ends, whole._current(window), lo).ratio()
        self.spikes[window] = (usual >= window.spike)[ends.line.pos]
        return self.spikes[window]

    def _ends(self, window: Window) -> Ends:
        key = (window.value, window.delay_us)
        if key not in self.ends:
            times = order.take(self.columns.times, self.at)
            self.ends[key] = Ends.of(self._line(key), times, self.at, self.at_starts)
        return self.ends[key]

    def _line(self, key: Key) -> Line:
        if key not in self.lines:
            self.lines[key] = self._make_line(*key)
        return self.lines[key]

    def _make_line(self, value: str | None, delay: int) -> Line:
        columns = self.columns
        values, codes, late = (group.get(value or "") for group in (columns.values, columns.codes, columns.arrivals))
        keep = np.ones(len(columns.times), np.bool_)
        if values is not None:
            keep = np.isfinite(values)
        elif codes is not None:
            keep = codes >= 0
        if late is not None:
            # A label never counts for its own event, nor before it, whatever the data say.
            arrivals = np.maximum(late, columns.times + 1)
            keep &= late != NEVER
        else:
            arrivals = columns.times + delay
        pos, starts = kernel.kept(keep, self.starts)
        if late is not None:
            order.sort_groups(pos, starts, arrivals, np.arange(len(keep)))
        arrivals = order.take(arrivals, pos)
        return Line(
            pos=pos,
            starts=starts,
            arrivals=arrivals,
            times=order.take(columns.times, pos),
            values=None if values is None else order.take(values, pos),
            codes=None if codes is None else order.take(codes, pos),
        )


def _aggregate(aggregate: Aggregate, ends: Ends, lo: np.ndarray) -> np.ndarray:
    line = ends.line
    if aggregate == "count":
        return (ends.hi - lo).astype(np.float64)
    if aggregate == "distinct":
        assert line.codes is not None
        return kernel.distinct(line.codes, ends.base, lo, ends.hi, np.zeros(line.codes.max(initial=-1) + 1, np.int32))
    assert line.values is not None
    if aggregate == "min":
        return kernel.smallest(line.values, ends.base, lo, ends.hi)
    if aggregate == "max":
        return -kernel.smallest(-line.values, ends.base, lo, ends.hi)
    if aggregate == "std":
        return kernel.spreads(line.sums, line.squares, ends.base, lo, ends.hi, FLAT)
    total = kernel.totals(line.sums, ends.base, lo, ends.hi)
    return kernel.means(total, lo, ends.hi) if aggregate == "mean" else total
