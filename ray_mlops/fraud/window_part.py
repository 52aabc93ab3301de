"""The windows of some whole entities, few enough rows to stay in cache: the compiled steps put together."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ray_mlops.fraud import window_kernel as kernel
from ray_mlops.fraud import window_order as order
from ray_mlops.fraud.event_columns import Columns
from ray_mlops.fraud.window_earlier import Earlier
from ray_mlops.fraud.window_line import Line
from ray_mlops.fraud.windows import EARLIER, FLAT, NEVER, Aggregate, Window


@dataclass(frozen=True)
class Part:
    """Rows of whole entities, together by entity and ordered by (time, key): row i came from `rows[i]` of the input and
    group g is `starts[g]:starts[g + 1]`."""

    rows: np.ndarray
    starts: np.ndarray
    columns: Columns
    lines: dict[tuple[str | None, int], Line] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Columns, rows: np.ndarray, starts: np.ndarray) -> "Part":
        """`rows` brings the columns together by entity."""
        if columns.keys is not None:
            order.sort_groups(rows, starts, columns.times, columns.keys)
        return cls(rows, starts, columns.mapped(lambda column: order.take(column, rows)))

    def features(self, window: Window) -> Iterator[np.ndarray]:
        """One column (float64) for each of `window.names()`."""
        line = self._line(window)
        arrivals, current = line.arrivals, self.columns.values.get(window.value or "")
        for span in window.spans_us:
            lo = kernel.begins(self.columns.times, line.base, line.hi, arrivals, span, window.resolution_us)
            earlier = Earlier(window, line, self.columns.times, current, lo)
            for aggregate in window.aggregates:
                yield getattr(earlier, aggregate)() if aggregate in EARLIER else _aggregate(aggregate, line, lo)

    def _line(self, window: Window) -> Line:
        key = (window.value, window.delay_us)
        if key not in self.lines:
            self.lines[key] = self._make_line(window.value, window.delay_us)
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
            base=kernel.bases(self.starts, starts),
            hi=kernel.ends(columns.times, self.starts, starts, arrivals, pos),
            times=order.take(columns.times, pos),
            values=None if values is None else order.take(values, pos),
            codes=None if codes is None else order.take(codes, pos),
        )


def _aggregate(aggregate: Aggregate, line: Line, lo: np.ndarray) -> np.ndarray:
    if aggregate == "count":
        return (line.hi - lo).astype(np.float64)
    if aggregate == "distinct":
        assert line.codes is not None
        return kernel.distinct(line.codes, line.base, lo, line.hi, np.zeros(line.codes.max(initial=-1) + 1, np.int32))
    assert line.values is not None
    if aggregate == "min":
        return kernel.smallest(line.values, line.base, lo, line.hi)
    if aggregate == "max":
        return -kernel.smallest(-line.values, line.base, lo, line.hi)
    if aggregate == "std":
        return kernel.spreads(line.sums, line.squares, line.base, lo, line.hi, FLAT)
    total = kernel.totals(line.sums, line.base, lo, line.hi)
    return kernel.means(total, lo, line.hi) if aggregate == "mean" else total
