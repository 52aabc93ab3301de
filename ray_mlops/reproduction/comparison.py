"""Two artifacts of one stage held against each other: bitwise equal, statistically equal, or different."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ray_mlops import algorithms
from ray_mlops.algorithms.worker import validation_metrics
from ray_mlops.contract import Algorithm, Artifact, Decision, Evaluation, Features, ImageFeatures, Trained
from ray_mlops.platform import files
from ray_mlops.reproduction.contents import MODEL, Content, content
from ray_mlops.vision.parts import source_of

Verdict = Literal["bitwise equal", "statistically equal", "different", "not made"]
_SHOWN = 3
_LONGEST = 60
_DRAWS = 200
_CONFIDENCE = 0.95
_MOST_ROWS = 100_000


@dataclass(frozen=True)
class Comparison:
    """How a stage that was run again compares; `reasons` name what differs, or the intervals that it is equal within."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


def compare(recorded: Artifact, remade: Artifact, upstream: Mapping[str, Any], seed: int) -> Comparison:
    """Hold what was made again against the record; `upstream` is what the stage has read.

    Statistically equal are an evaluation whose figures lie in the recorded bootstrap intervals, a decision with the same
    verdict whose gains do, and a model whose validation metrics differ by no more than chance explains: 0 lies in the
    interval of their difference, from a bootstrap of the rows that is paired. Everything else is bitwise equal or not.
    """
    differing = differences(content(recorded), content(remade))
    if not differing:
        return Comparison("bitwise equal")
    if isinstance(recorded, Evaluation) and isinstance(remade, Evaluation):
        inside, outside = _within(_intervals(recorded.metrics), remade.metrics)
    elif isinstance(recorded, Decision) and isinstance(remade, Decision):
        inside, outside = _decided(recorded, remade)
    elif isinstance(recorded, Trained) and isinstance(remade, Trained):
        inside, outside = _learnt(recorded, remade, upstream, seed)
    else:
        inside, outside = (), ("nothing but equal content counts here",)
    if inside and not outside:
        return Comparison("statistically equal", inside)
    return Comparison("different", differing)


def differences(recorded: Content, remade: Content) -> tuple[str, ...]:
    """What differs, the first few by name and the number of the others."""
    names = [name for name in (*recorded, *(set(remade) - set(recorded))) if not _same(recorded, remade, name)]
    shown = [f"{name} was {_short(recorded, name)}, is {_short(remade, name)}" for name in names[:_SHOWN]]
    more = len(names) - len(shown)
    return (*shown, *([f"and {more} more"] if more else []))


def _same(recorded: Content, remade: Content, name: str) -> bool:
    # As text, so that a NaN is what it was.
    if name not in recorded or name not in remade:
        return False
    before, now = (json.dumps(values[name], default=str) for values in (recorded, remade))
    return before == now


def _short(values: Content, name: str) -> str:
    text = str(values[name]) if name in values else "absent"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


# ---- statistically ---------------------------------------------------------------------------------------------------

Interval = tuple[float, float]
_Sides = tuple[tuple[str, ...], tuple[str, ...]]  # what lies in its interval, and what does not


def _within(intervals: Mapping[str, Interval], values: Mapping[str, float]) -> _Sides:
    inside, outside = [], []
    for name, (low, high) in intervals.items():
        value = values.get(name, float("nan"))
        told = f"{name} {value:.4g} in the recorded interval [{low:.4g}, {high:.4g}]"
        (inside if low <= value <= high else outside).append(told)
    return tuple(inside), tuple(outside)


def _intervals(metrics: Mapping[str, float]) -> dict[str, Interval]:
    return {
        name: (metrics[f"{name}_low"], metrics[f"{name}_high"])
        for name in metrics
        if f"{name}_low" in metrics and f"{name}_high" in metrics
    }


def _decided(recorded: Decision, remade: Decision) -> _Sides:
    if (recorded.verdict, recorded.rule) != (remade.verdict, remade.rule):
        return (), ("the verdict or the rule is another",)
    before, now = (_gains(one) for one in (recorded, remade))
    intervals = {name: (gain["low"], gain["high"]) for name, gain in before.items()}
    return _within(intervals, {name: gain["value"] for name, gain in now.items()})


def _gains(decision: Decision) -> dict[str, dict[str, float]]:
    told = files.read_json(files.join(decision.uri, "decision.json"))
    gains = told.get("gains") or {"gain": told.get("gain")}
    ends = ("value", "low", "high")
    return {
        f"gain in {name}": gain
        for name, gain in gains.items()
        if gain and all(isinstance(gain.get(end), (int, float)) for end in ends)
    }


def _learnt(recorded: Trained, remade: Trained, upstream: Mapping[str, Any], seed: int) -> _Sides:
    """The validation metrics of both models, by a bootstrap that draws the same rows for both."""
    if dict(recorded.algorithm) != dict(remade.algorithm):
        return (), ("the hyperparameters are others",)
    labels, scores = _scored((recorded, remade), upstream["features"], upstream["algorithm"])
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(_DRAWS):
        rows = generator.integers(0, len(labels), len(labels))
        if len(np.unique(labels[rows])) > 1:
            before, now = (validation_metrics(labels[rows], score[rows]) for score in scores)
            for name, value in now.items():
                drawn.setdefault(name, []).append(value - before[name])
    inside, outside = [], []
    for name, values in drawn.items():
        low, high = np.quantile(values, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
        told = (
            f"{name} differs by [{low:.2g}, {high:.2g}] ({_CONFIDENCE:.0%} of {_DRAWS} paired resamples of validation)"
        )
        (inside if low <= 0 <= high else outside).append(told)
    return tuple(inside), tuple(outside)


def _scored(
    models: Sequence[Trained], features: Features | ImageFeatures, algorithm: Algorithm
) -> tuple[np.ndarray, list[np.ndarray]]:
    rows, labels = source_of(features).read("validation").arrays()
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), _MOST_ROWS)).astype(np.int64))
    found = []
    for trained in models:
        settings = {name: value for name, value in trained.algorithm.items() if name not in ("kind", "class")}
        with files.localised(files.join(trained.uri, MODEL)) as folder:
            model = algorithms.with_settings(algorithm, settings).load(folder)
        found.append(np.asarray(model.predict(rows[chosen])))
    return labels[chosen], found
