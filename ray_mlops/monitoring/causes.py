"""The cause report of an alarm: what moved, by how much, since when, in which slices, requests that show it, and what to do.

One is kept in the run root, beside the judged windows, whenever an alarm is raised, whenever something else is to be done
about alarms that go on, and again while they last.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.errors import StorageError
from ray_mlops.monitoring import drift, proposals, samples
from ray_mlops.monitoring.alarms import Alarm
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.drift import Limits
from ray_mlops.monitoring.history import Judged
from ray_mlops.monitoring.proposals import Action, Circumstances, moment
from ray_mlops.monitoring.readings import Monitor, Reading
from ray_mlops.monitoring.sketches import Sketch

_SLICES = 5
_FEWEST = 30  # requests of a slice


class Explaining(Frozen):
    """How alarms are explained: `samples` ids of requests for each; trouble that begins within `soon_s` after a deployment is put
    down to it; while alarms last there is another report after `again_s`."""

    samples: int = Field(default=5, ge=0)
    soon_s: float = Field(default=3_600.0, ge=0)
    again_s: float = Field(default=86_400.0, gt=0)


class Cause(Frozen):
    """One alarm: the size of its effect beside the limit, in words too; since which window (`since`, the `windows` until now)
    it is too large without a break; and the ids of requests that show it, with `shows` in words."""

    key: str
    monitor: Monitor
    words: str
    effect: float
    limit: float
    chance: float
    since: int
    windows: int
    shows: str = ""
    samples: tuple[str, ...] = ()


class Slice(Frozen):
    """A part of the requests whose scores have moved; `psi` above what chance gives."""

    name: str
    requests: int
    psi: float


class CauseReport(Frozen):
    """Why an endpoint is in alarm at the end of a judged window (seconds since the epoch), and the proposed action."""

    id: str
    endpoint: str
    version: str
    digest: str
    window: int
    start: int
    end: int
    since: int
    causes: tuple[Cause, ...]
    slices: tuple[Slice, ...] = ()
    action: Action
    reasons: tuple[str, ...]

    @property
    def keys(self) -> frozenset[str]:
        """What is in alarm."""
        return frozenset(cause.key for cause in self.causes)

    def lines(self) -> Iterator[str]:
        """The report for a terminal."""
        yield f"cause report {self.id}: {self.action}"
        yield from (f"  because {reason}" for reason in self.reasons)
        for cause in self.causes:
            yield f"  {cause.key}: {cause.words}; since {moment(cause.since)} ({cause.windows} window(s))"
            if cause.samples:
                yield f"    {cause.shows}: {', '.join(cause.samples)}"
        for part in self.slices:
            yield f"  slice {part.name}: PSI of its scores {part.psi:.2f} above chance, {part.requests:,} requests"


@dataclass(frozen=True)
class Explainer:
    """Explains the alarms of one version of an endpoint; `capture` is its log (empty: none), `known` what is known beside its
    alarms. Windows are given with those that were judged before."""

    endpoint: str
    version: str
    digest: str
    baseline: Baseline
    capture: str
    known: Circumstances
    limits: Limits
    explaining: Explaining

    def explain(self, judged: Judged, past: Sequence[Judged]) -> CauseReport:
        """The report of a window."""
        action, reasons = self.propose(judged, past)
        live = Sketch(self.baseline, counts=judged.counts).to_baseline()
        causes = [_cause(alarm, judged, past) for alarm in judged.alarms]
        return CauseReport(
            id=f"{self.endpoint}-{self.digest[:12]}-{judged.number}",
            endpoint=self.endpoint,
            version=self.version,
            digest=self.digest,
            window=judged.number,
            start=judged.start,
            end=judged.end,
            since=_since(judged, past),
            causes=tuple(self._sampled(judged, causes, live)),
            slices=tuple(_slices(self.baseline, live, self.limits)),
            action=action,
            reasons=reasons,
        )

    def propose(self, judged: Judged, past: Sequence[Judged]) -> proposals.Proposal:
        """What to do about the alarms of a window, and why."""
        readings = _readings(judged)
        alarmed = [readings.get(alarm.key) or _counted(alarm) for alarm in judged.alarms]
        quality = next(_qualities([*past, judged]), None)
        return proposals.propose(alarmed, _since(judged, past), self.known._replace(quality=quality))

    def _sampled(self, judged: Judged, causes: Sequence[Cause], live: Baseline) -> Iterator[Cause]:
        """The causes with requests that show them; without, where the log cannot be read."""
        readings, span, most = _readings(judged), (judged.start, judged.end), self.explaining.samples
        told = {key: samples.telling(reading, self.baseline, live) for key, reading in readings.items()}
        wanted = {cause.key: one for cause in causes if (one := told.get(cause.key))}
        shown: dict[str, tuple[str, tuple[str, ...]]] = {}
        try:
            found = samples.find(self.capture, self.digest, span, wanted, most)
            shown = {key: (wanted[key].words, ids) for key, ids in found.items()}
            for cause in causes:
                if cause.monitor == "model quality":
                    shown[cause.key] = samples.misjudged(self.capture, self.digest, span, most)
        except StorageError:  # the alarm is told all the same
            shown = {}
        for cause in causes:
            words, ids = shown.get(cause.key, ("", ()))
            yield cause.model_copy(update={"shows": words, "samples": ids})


def _qualities(windows: Sequence[Judged]) -> Iterator[Reading]:
    """The readings of model quality, the latest first."""
    for window in reversed(windows):
        yield from (one for one in window.readings if one.monitor == "model quality")


def _readings(judged: Judged) -> Mapping[str, Reading]:
    return {reading.key: reading for reading in judged.readings}


def _counted(alarm: Alarm) -> Reading:
    """An alarm of the moment, which is in no window."""
    monitor, _, name = alarm.key.partition(": ")
    told = {"monitor": monitor, "name": name, "rows": 0, "effect": 1.0, "limit": 0.0, "chance": 0.0}
    return Reading.model_validate({**told, "words": alarm.words})


def _since(judged: Judged, past: Sequence[Judged]) -> int:
    return min((_began(alarm.key, judged, past)[0] for alarm in judged.alarms), default=judged.start)


def _began(key: str, judged: Judged, past: Sequence[Judged]) -> tuple[int, int]:
    """When the first of the windows began that show too large an effect without a break, and how many they are."""
    start, windows = judged.start, 1
    for one in reversed(past):
        reading = _readings(one).get(key)
        if reading is None:  # labels, say, do not come in every window
            continue
        if not reading.exceeds:
            break
        start, windows = one.start, windows + 1
    return start, windows


def _cause(alarm: Alarm, judged: Judged, past: Sequence[Judged]) -> Cause:
    reading = _readings(judged).get(alarm.key) or _counted(alarm)
    since, windows = _began(alarm.key, judged, past)
    return Cause(
        key=alarm.key,
        monitor=reading.monitor,
        words=reading.words,
        effect=reading.effect,
        limit=reading.limit,
        chance=alarm.chance,
        since=since,
        windows=windows,
    )


def _slices(before: Baseline, now: Baseline, limits: Limits) -> list[Slice]:
    """The slices whose scores have moved most, of those that have moved too far."""
    moved = []
    for column, slices in before.slices.items():
        for value, known in slices.items():
            seen = now.slices[column][value]
            if min(known.rows, seen.rows) < _FEWEST:
                continue
            reading = drift.reading(f"{column} {value}", known.score, seen.score, limits)
            if reading.exceeds:
                moved.append(Slice(name=reading.name, requests=seen.rows, psi=reading.effect))
    return sorted(moved, key=lambda one: -one.psi)[:_SLICES]
