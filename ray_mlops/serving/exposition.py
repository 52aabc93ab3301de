"""What monitoring knows of an endpoint, as Prometheus reads it.

The counts are those of all its replicas since it was first deployed with this version, out of the run root: whichever
replica is asked, the counters never fall. Alarms and readings are those of the last judged window.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ray_mlops.monitoring import windows
from ray_mlops.monitoring.baseline import Baseline, Distribution
from ray_mlops.monitoring.history import History, Judged
from ray_mlops.monitoring.sketches import Sketch

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LOWER, MISSING = "lower", "missing"


def exposition(baseline: Baseline, history: History, labels: Mapping[str, str], *, failing: bool) -> bytes:
    """The text format; `labels` name endpoint and version, `failing` says that this replica cannot write its counts."""
    from prometheus_client import CollectorRegistry, generate_latest

    last, waiting = history.waiting()
    sketch = windows.merged(waiting, Sketch(baseline, counts=last.total if last else None))
    captured = dict(last.captured) if last else {}
    for name, lines in windows.captured(waiting).items():
        captured[name] = captured.get(name, 0) + lines
    registry = CollectorRegistry()
    registry.register(_Collector([*_counts(sketch, captured, labels), *_judged(last, labels, failing)]))
    return generate_latest(registry)


class _Collector:
    """What has been collected already, as prometheus_client asks for it."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        """All of it."""
        return self._families


def _counts(sketch: Sketch, captured: Mapping[str, int], labels: Mapping[str, str]) -> Iterator[Any]:
    from prometheus_client.core import HistogramMetricFamily

    seen = sketch.to_baseline()
    outcomes = {"answered": sketch.requests, "degraded": sketch.degraded, "refused": sketch.refused}
    yield _counter(
        "requests", "Requests by what became of them.", labels, {(key,): n for key, n in outcomes.items()}, "outcome"
    )
    yield _counter(
        "decisions", "Answers by decision.", labels, {(key,): n for key, n in seen.decisions.items()}, "decision"
    )
    values = {(name, bin_): n for name, part in seen.features.items() for bin_, n in _bins(part).items()}
    told = "Values of each feature by the edge from which its bin goes on, on the edges of the training data."
    yield _counter("feature_values", told, labels, values, "feature", "from")
    texts = {(name, value): n for name, part in seen.inputs.items() for value, n in part.counts.items()}
    texts |= {
        (name, word): n for name, part in seen.inputs.items() for word, n in (("", part.other), (MISSING, part.missing))
    }
    yield _counter(
        "column_values", "Values of each text column; an empty one is any other.", labels, texts, "column", "value"
    )
    decided = {
        (name, value, decision): n
        for name, parts in seen.slices.items()
        for value, part in parts.items()
        for decision, n in part.decisions.items()
    }
    yield _counter("slice_decisions", "Answers by slice and decision.", labels, decided, "column", "value", "decision")
    lines = {(key,): n for key, n in captured.items()}
    yield _counter("capture_lines", "Lines of the capture log by what became of them.", labels, lines, "state")
    score = HistogramMetricFamily("ray_mlops_score", "Scores, on the edges of the training data.", labels=list(labels))
    total, buckets = 0, []
    for edge, count in zip((*seen.score.edges, float("inf")), seen.score.counts, strict=True):
        total += count
        buckets.append(("+Inf" if edge == float("inf") else f"{edge:.9g}", total))
    score.add_metric(list(labels.values()), buckets, sum_value=None)
    yield score


def _judged(last: Judged | None, labels: Mapping[str, str], failing: bool) -> Iterator[Any]:
    readings = last.readings if last else ()
    named = {(one.monitor, one.name): one for one in readings}
    names = ("monitor", "name")
    alarms = {tuple(alarm.key.split(": ", 1)): 1.0 for alarm in last.alarms} if last else {}
    told = {key: alarms.get(key, 0.0) for key in named} | alarms
    yield _gauge("alarm", "1 where the last judged window is an alarm.", labels, told, *names)
    yield _gauge(
        "effect", "The effect in the last judged window.", labels, {k: r.effect for k, r in named.items()}, *names
    )
    yield _gauge(
        "limit", "The effect above which it is too large.", labels, {k: r.limit for k, r in named.items()}, *names
    )
    until = {(): float(last.end)} if last else {}
    yield _gauge("judged_until_seconds", "The end of the last judged window, seconds since 1970.", labels, until)
    yield _gauge("counts_failing", "1 where this replica cannot write its counts.", labels, {(): float(failing)})


def _bins(part: Distribution) -> dict[str, int]:
    names = [LOWER, *(f"{edge:.9g}" for edge in part.edges)]
    return dict(zip(names, part.counts, strict=True)) | {MISSING: part.missing}


def _counter(name: str, told: str, labels: Mapping[str, str], values: Mapping[tuple, float], *names: str) -> Any:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(f"ray_mlops_{name}", told, labels=[*labels, *names])
    for key, value in values.items():
        family.add_metric([*labels.values(), *key], value)
    return family


def _gauge(name: str, told: str, labels: Mapping[str, str], values: Mapping[tuple, float], *names: str) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"ray_mlops_{name}", told, labels=[*labels, *names])
    for key, value in values.items():
        family.add_metric([*labels.values(), *key], value)
    return family
