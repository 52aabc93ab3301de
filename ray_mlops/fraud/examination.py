"""The evaluation of a model: thresholds and calibration from validation, every figure with its interval from test."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.fraud import appraisal, curves, fairness
from ray_mlops.fraud.appraisal import Judged, Policy, Review, Scored
from ray_mlops.fraud.calibration import Calibration, Method, fit
from ray_mlops.fraud.costs import Costs
from ray_mlops.fraud.intervals import Estimate, Metric, day_draws, estimate, minus
from ray_mlops.fraud.slices import Slicing

_SLICED = ("average_precision", "precision", "recall", "value_recall", "savings")


class Settings(Frozen):
    """How a model is judged. `bootstrap` is the number of resamples of days behind each interval."""

    costs: Costs = Costs()
    review: Review = Review()
    policy: Policy = Policy()
    calibration: Method = "auto"
    bootstrap: int = Field(default=200, ge=20)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


@dataclass(frozen=True)
class Chosen:
    """What validation decides: the calibration and the thresholds that travel with the model."""

    calibration: Calibration
    thresholds: Mapping[str, float]

    @classmethod
    def on(cls, scores: np.ndarray, judged: Judged, settings: Settings, *, length_days: float) -> "Chosen":
        """From validation scores over `length_days` days."""
        thresholds = settings.policy.thresholds(scores, judged, settings.costs, length_days=length_days)
        return cls(fit(scores, judged.labels, settings.calibration), thresholds)

    def scored(self, scores: np.ndarray) -> Scored:
        """Other scores of the same model, with what follows from them."""
        return appraisal.scored(scores, self.calibration, self.thresholds)


@dataclass(frozen=True)
class Rival:
    """Something else scored on the same rows, and what it is in words."""

    about: str
    scored: Scored


@dataclass(frozen=True)
class Examination:
    """`metrics` are flat figures for gates, undefined ones left out; `details` is all that the page shows."""

    metrics: Mapping[str, float]
    details: Mapping[str, Any]


def examine(
    judged: Judged,
    scored: Scored,
    rivals: Mapping[str, Rival],
    slicings: Sequence[Slicing],
    *,
    groupings: Sequence[Slicing] = (),
    settings: Settings,
    seed: int,
) -> Examination:
    """Judge test rows; `groupings` are the groups of people whose treatment is compared. A gain over a rival (`rule`, `champion`) is in average precision; where the rival is absent it
    is over a constant score, so that a gate on it works for a first model too."""
    draws = day_draws(judged.count, settings.bootstrap, seed)

    def told(metric: Metric) -> Estimate:
        return estimate(metric, draws, settings.confidence)

    own = appraisal.metrics(judged, scored, settings.costs, settings.review)
    estimates = {name: told(metric) for name, metric in own.items()}
    reachable = appraisal.attainable(judged, settings.review)
    compared: dict[str, Any] = {}
    for name in ("rule", "champion"):
        rival = rivals.get(name, Rival("no other: a constant score", appraisal.constant(len(judged.labels))))
        others = appraisal.metrics(judged, rival.scored, settings.costs, settings.review)
        gains = {key: told(minus(own[key], metric)) for key, metric in others.items() if key in own}
        estimates[f"gain_over_{name}"] = gains["average_precision"]
        estimates[f"savings_over_{name}"] = gains["savings"]
        if name in rivals:
            known = {key: told(metric) for key, metric in others.items()}
            compared[name] = {"about": rival.about, "metrics": _plain(known), "gain": _plain(gains)}
    groups = fairness.group_table(judged, scored, groupings, told)
    details = {
        "metrics": _plain(estimates),
        "attainable": reachable,
        "rivals": compared,
        "slices": _slices(judged, scored, slicings, settings, told),
        "groups": [{**group, "rates": _plain(group["rates"]), "gaps": _plain(group["gaps"])} for group in groups],
        "curves": curves.all_curves(
            judged,
            scored,
            {name: rival.scored for name, rival in rivals.items()},
            costs=settings.costs,
            review=settings.review,
        ),
        "data": _data(judged),
    }
    known = {name: value for name, value in reachable.items() if math.isfinite(value)}
    return Examination({**_flat(estimates), **known, **fairness.worst(groups)}, details)


def _slices(
    judged: Judged, scored: Scored, slicings: Sequence[Slicing], settings: Settings, told: Callable[[Metric], Estimate]
) -> list[dict[str, Any]]:
    found = []
    for slicing in slicings:
        if not slicing.useful:
            continue
        for value, rows in slicing.parts():
            part = replace(judged.take(rows), cards=None)
            measured = appraisal.metrics(part, scored.take(rows), settings.costs, settings.review)
            estimates = {name: told(measured[name]) for name in _SLICED}
            counts = {"rows": len(part.labels), "positives": int(part.labels.sum())}
            found.append({"by": slicing.name, "value": value, **counts, "metrics": _plain(estimates)})
    return found


def _data(judged: Judged) -> dict[str, Any]:
    cards = None if judged.cards is None else len(np.unique(judged.cards[judged.cards >= 0]))
    return {
        "rows": len(judged.labels),
        "positives": int(judged.labels.sum()),
        "days": judged.count,
        "stolen": float(judged.stolen.sum()),
        "cards": cards,
    }


def _flat(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    """`name`, `name_low`, `name_high` of what is defined."""
    found: dict[str, float] = {}
    for name, known in estimates.items():
        found |= {name: known.value, f"{name}_low": known.low, f"{name}_high": known.high}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {
        name: {end: value if math.isfinite(value) else None for end, value in known.model_dump().items()}
        for name, known in estimates.items()
    }
