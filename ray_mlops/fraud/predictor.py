"""From a bundle to scores, decisions and reasons: the same code behind batch scoring and behind HTTP.

It knows neither Ray nor HTTP. One row costs what the model costs: features arrive as float32 rows, no data frame is made.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from ray_mlops import algorithms
from ray_mlops.algorithms.boosting import quick
from ray_mlops.algorithms.trees import MOST_ROWS
from ray_mlops.contract import Algorithm, Model
from ray_mlops.errors import ConfigError
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.platform.bundle import Bundle

Action = Literal["approve", "review", "block"]
ACTIONS: tuple[Action, ...] = ("approve", "review", "block")


class Reason(TypedDict):
    """What one feature did to one score; `contribution` is what the model's `explain` gives, log-odds for ours."""

    feature: str
    value: float | None
    contribution: float
    text: str


@dataclass(frozen=True)
class Scores:
    """For each row: the model's score, its calibrated probability, and an index into `ACTIONS`."""

    score: np.ndarray
    probability: np.ndarray
    action: np.ndarray


@dataclass(frozen=True)
class Predictor:
    """A model with all that turns its score into an answer.

    `thresholds` are the scores from which a transaction is reviewed and blocked; infinity means never.
    """

    model: Model
    definition: FeatureDefinition
    calibration: Mapping[str, Sequence[float]]
    thresholds: Mapping[str, float]

    @classmethod
    def load(cls, bundle: Bundle) -> "Predictor":
        """The predictor of a bundle that `save` filled."""
        code = bundle.path("code") if bundle.has("code") else None
        algorithm = algorithms.restore(bundle.json("algorithm.json"), code)
        definition = FeatureDefinition.model_validate(bundle.json("definition.json"))
        thresholds = {
            name: math.inf if score is None else score for name, score in bundle.json("thresholds.json").items()
        }
        return cls(algorithm.load(bundle.path("model")), definition, bundle.json("calibration.json"), thresholds)

    def score(self, rows: np.ndarray) -> Scores:
        """Score feature rows `(rows, features)` float32.

        Raises `ConfigError` when the model, a user's own perhaps, gives something else than one score in [0, 1] a row.
        """
        score = np.asarray(self.model.predict(rows), dtype=np.float64)
        if score.shape != (len(rows),) or (score.size and not (score.min() >= 0 and score.max() <= 1)):
            raise ConfigError(
                f"the model's predict() gave {_shown(score)} for {len(rows)} rows; it must give one score in [0, 1] per row"
            )
        return self.judged(score)

    def judged(self, score: np.ndarray) -> Scores:
        """What scores, float64 `(rows,)`, mean: whoever gave them."""
        probability = np.interp(score, *self._curve)
        action = np.searchsorted(self.limits, score, side="right")
        return Scores(score, probability, action)

    @cached_property
    def _curve(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.calibration["score"], np.float64), np.array(self.calibration["probability"], np.float64)

    @cached_property
    def limits(self) -> np.ndarray:
        """The scores from which a transaction is reviewed, and blocked: float64 `(2,)`, infinity for never."""
        block = self.thresholds.get("block", math.inf)
        return np.array([min(self.thresholds.get("review", math.inf), block), block])

    @cached_property
    def quick_rows(self) -> int:
        """How many rows are scored in less time than it takes to hand them to another thread."""
        return MOST_ROWS if quick(self.model) else 0

    def reasons(self, rows: np.ndarray, top: int) -> list[list[Reason]]:
        """The `top` features that moved each row's score the most, strongest first."""
        if top == 0:
            return [[] for _ in rows]
        contributions = np.asarray(self.model.explain(rows), dtype=np.float64)
        strongest = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :top]
        return [
            [self._reason(int(place), rows[row, place], contributions[row, place]) for place in strongest[row]]
            for row in range(len(rows))
        ]

    def _reason(self, place: int, value: float, contribution: float) -> Reason:
        name = self.definition.names[place]
        known = bool(np.isfinite(value))
        effect = "raises" if contribution > 0 else "lowers" if contribution < 0 else "does not change"
        stated = f"is {value:g}" if known else "is unknown"
        return {
            "feature": name,
            "value": float(f"{value:.7g}") if known else None,  # as many digits as a float32 has
            "contribution": float(contribution),
            "text": f"{self._phrases[name]} {stated}, which {effect} the risk",
        }

    @cached_property
    def _phrases(self) -> Mapping[str, str]:
        return phrases(self.definition)


def save(
    folder: str,
    algorithm: Algorithm,
    model: str,
    definition: FeatureDefinition,
    *,
    calibration: Mapping[str, Sequence[float]],
    thresholds: Mapping[str, float],
) -> None:
    """Write into `folder` what `Predictor.load` reads; `model` is the folder the fitted model was saved to."""
    place = Path(folder)
    shutil.copytree(model, place / "model", symlinks=True, dirs_exist_ok=True)  # a bundle refuses links
    if (source := algorithms.source_file(algorithm)) is not None:
        (place / "code").mkdir(exist_ok=True)
        shutil.copyfile(source, place / "code" / Path(source).name)
    # Strict JSON has no infinity: a threshold that is never reached is null.
    finite = {name: score if math.isfinite(score) else None for name, score in thresholds.items()}
    _write(place / "algorithm.json", algorithms.describe(algorithm))
    _write(place / "definition.json", definition.model_dump(mode="json"))
    _write(place / "calibration.json", {name: list(points) for name, points in calibration.items()})
    _write(place / "thresholds.json", finite)


def phrases(definition: FeatureDefinition) -> dict[str, str]:
    """Each feature in words."""
    words = {name: name.replace("=", " being ") for name in definition.names}
    words |= {"hour": "the hour", "weekday": "the weekday", "month": "the month"}
    words |= {"night": "night time", "weekend": "a weekend"}
    for window in definition.windows:
        entity = " and ".join(window.entities)
        late = f" up to {window.delay:g} days ago" if window.delay else ""
        for name, (span, aggregate) in zip(
            window.names(), [(s, a) for s in window.spans for a in window.aggregates], strict=True
        ):
            what = _AGGREGATES[aggregate].format(value=window.value)
            words[name] = f"{what} of this {entity} in {span:g} days{late}"
    return {name: words[name] for name in definition.names}


_AGGREGATES: Mapping[str, str] = {
    "count": "the number of events",
    "sum": "the total {value}",
    "mean": "the mean {value}",
    "min": "the smallest {value}",
    "max": "the largest {value}",
    "std": "the spread of {value}",
    "distinct": "the number of different {value}",
    "last": "the last {value}",
    "since": "the seconds since the last event",
    "ratio": "{value} relative to the mean",
    "max_ratio": "{value} relative to the largest",
    "geometric_ratio": "{value} relative to the geometric mean",
    "zscore": "{value} in standard deviations from the mean",
    "spikes": "the number of spikes of {value}",
    "streak": "the number of latest events with {value}",
    "streak_age": "the seconds since the first of the latest events with {value}",
    "since_positive": "the seconds since the last event with {value}",
}


def _shown(score: np.ndarray) -> str:
    if score.ndim == 1 and score.size and not np.all((score >= 0) & (score <= 1)):
        return f"values from {score.min():g} to {score.max():g}"
    return f"an array of shape {score.shape}"


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
