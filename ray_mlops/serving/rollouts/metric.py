"""A user's own measure of a rollout: a callable that gets the summary of both sides and says what it makes of it."""

import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ray_mlops.errors import ConfigError
from ray_mlops.serving.rollouts.judge import Check, Step
from ray_mlops.serving.rollouts.tally import SCORE_EDGES, Lane, Pairs

Metric = Callable[[Mapping[str, Any]], Any]


def load(name: str) -> Metric:
    """The callable `module:function`, also of a module in the working folder; raises `ConfigError` where there is none."""
    module, _, attribute = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"--metric {name}: {error}") from error
    if not callable(found):
        raise ConfigError(f"--metric {name} is not callable")
    return found


def check(name: str, metric: Metric, steps: Sequence[Step]) -> Check:
    """What a metric makes of all that has been counted: `False` or `{"verdict": "bad"}` rolls back, a number is only recorded.
    One that raises, or answers anything else, is a check that failed."""
    try:
        found = metric(summary(steps))
        return _read(name, found)
    except Exception as error:  # noqa: BLE001 - it is not our code, and the rollout goes on without it
        return Check(name=name, verdict="failed", reason=f"{type(error).__name__}: {error}")


def summary(steps: Sequence[Step]) -> dict[str, Any]:
    """What a metric gets: `champion` and `challenger`, each with requests, errors, latency_p50_ms, latency_p95_ms, mean_score,
    alerts and `scores`, counts between `score_edges`; and `pairs`, `alike`, `share` of the present step."""
    pairs, lanes = Pairs(), (Lane(), Lane())
    for step in steps:
        pairs = pairs.plus(step.tally.pairs)
        lanes = (lanes[0].plus(step.lanes[0]), lanes[1].plus(step.lanes[1]))
    return {
        "champion": _side(lanes[0], pairs.champion_scores, pairs.both + pairs.only_champion),
        "challenger": _side(lanes[1], pairs.challenger_scores, pairs.both + pairs.only_challenger),
        "pairs": pairs.count,
        "alike": pairs.alike,
        "score_edges": SCORE_EDGES,
        "share": steps[-1].share if steps else 0.0,
    }


def _side(lane: Lane, scores: tuple[int, ...], alerts: int) -> dict[str, Any]:
    middles = np.convolve([0.0, *SCORE_EDGES, 1.0], [0.5, 0.5], "valid")
    total = sum(scores)
    return {
        "requests": lane.requests,
        "errors": lane.errors,
        "latency_p50_ms": 1000 * lane.quantile_s(0.5),
        "latency_p95_ms": 1000 * lane.quantile_s(0.95),
        "mean_score": float(np.dot(middles, scores) / total) if total else math.nan,
        "alerts": alerts,
        "scores": scores,
    }


def _read(name: str, found: Any) -> Check:
    if isinstance(found, bool):
        return Check(name=name, verdict="ok" if found else "bad", reason="" if found else f"{name} says no")
    if isinstance(found, (int, float)):
        return Check(name=name, verdict="ok", numbers={"value": float(found)})
    if isinstance(found, Mapping) and found.get("verdict") in ("ok", "bad", "unknown"):
        numbers = {str(key): float(value) for key, value in found.items() if isinstance(value, (int, float))}
        said = str(found.get("reason", "")) or (f"{name} says bad" if found["verdict"] == "bad" else "")
        return Check(name=name, verdict=found["verdict"], numbers=numbers, reason=said)
    raise TypeError(f"it gave {found!r}; a number, True or False, or a mapping with verdict ok, bad or unknown is read")
