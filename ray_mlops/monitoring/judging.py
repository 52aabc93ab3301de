"""From windows to judgements: every window that is over is judged once, in the order of time."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.monitoring import alarms, bias_drift, data_quality, drift, operation, windows
from ray_mlops.monitoring.alarms import Rule
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.drift import Limits
from ray_mlops.monitoring.history import History, Judged, Stretch, stretches
from ray_mlops.monitoring.readings import Reading
from ray_mlops.monitoring.sketches import Sketch

FEWEST = 50
Further = Callable[[int, int], Iterable[Reading]]


class Judging(Frozen):
    """What is judged together, and what is too much.

    Windows are put together until they span `window_s` and hold `min_requests`; one is over `grace_s` after its end, for its
    replicas to write it. `drift` are the limits of distributions;
    `share` bounds the rise of the share of missing, unseen or illegal values, `bias` the change of the gap between the selection
    rates of a group and the others. `alarm` is the rule by which too much becomes an alarm.
    """

    min_requests: int = Field(default=200, ge=FEWEST)
    window_s: float = Field(default=300.0, gt=0)
    grace_s: float = Field(default=30.0, ge=0)
    drift: Limits = Limits()
    share: float = Field(default=0.02, gt=0)
    bias: float = Field(default=0.1, gt=0)
    alarm: Rule = Rule()


class Judge:
    """Judges what an endpoint was asked of one version. `further` gives the readings of other monitors for a stretch of time."""

    def __init__(self, judging: Judging, baseline: Baseline, history: History, further: Further | None = None) -> None:
        self._judging, self._baseline, self._history, self._further = judging, baseline, history, further

    def catch_up(self, now: float) -> list[Judged]:
        """Judge and record all windows that are over; those that this call has recorded."""
        made: list[Judged] = []
        while True:
            last, waiting = self._history.waiting()
            over = [window for window in waiting if window.end + self._judging.grace_s <= now]
            full = next(iter(self._stretches(over)), None)
            if full is None or not self._enough(full):
                return made
            judged = self._judged(full, last, self._history.judged(last=self._judging.alarm.windows - 1))
            if self._history.add(judged):
                made.append(judged)

    def at_present(self) -> Judged | None:
        """What can be said of the windows that have not been judged; None where there are no requests. It is not recorded."""
        last, waiting = self._history.waiting()
        if not waiting:
            return None
        earlier = self._history.judged(last=self._judging.alarm.windows - 1)
        return self._judged(Stretch(waiting), last, earlier)

    def replayed(self, judged: Sequence[Judged]) -> list[list[alarms.Alarm]]:
        """What the rule of today says of the readings of past windows."""
        return alarms.replay([one.readings for one in judged], self._judging.alarm)

    def _stretches(self, over: Sequence[windows.Window]) -> list[Stretch]:
        return stretches(over, requests=self._judging.min_requests, seconds=self._judging.window_s)

    def _enough(self, stretch: Stretch) -> bool:
        judging = self._judging
        return stretch.requests >= judging.min_requests and stretch.end - stretch.start >= judging.window_s

    def _judged(self, stretch: Stretch, last: Judged | None, earlier: Sequence[Judged]) -> Judged:
        sketch = windows.merged(stretch.windows, Sketch(self._baseline))
        counts = sketch.counts.tolist()
        total = [count + before for count, before in zip(counts, last.total, strict=True)] if last else counts
        capture = windows.captured(stretch.windows)
        captured = Counter(last.captured if last else {})
        captured.update(capture)
        readings = [*operation.compare(capture)]
        if sketch.requests >= self._judging.min_requests:
            readings += self._read(sketch, stretch)
        said = [*(one.readings for one in earlier), readings]
        return Judged(
            number=last.number + 1 if last else 1,
            start=stretch.start,
            end=stretch.end,
            files=tuple(window.name for window in stretch.windows),
            counts=counts,
            total=total,
            capture=capture,
            captured=captured,
            readings=tuple(readings),
            alarms=tuple(alarms.judge(said, self._judging.alarm)) if readings else (),
        )

    def _read(self, sketch: Sketch, stretch: Stretch) -> list[Reading]:
        judging, before, now = self._judging, self._baseline, sketch.to_baseline()
        return [
            *data_quality.compare(before, sketch, judging.share),
            *drift.compare(before, now, judging.drift),
            *bias_drift.compare(before, now, judging.bias),
            *(self._further(stretch.start, stretch.end) if self._further else ()),
        ]
