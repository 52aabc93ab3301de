"""The candidates between which `decide` chooses: from reviewing nothing to quick boosting.

Each is fitted on a matrix `(rows, features)` float32 with NaN for missing values and then scores rows of the same
columns, higher is riskier. The models are quick ones; what counts is their distance from the simple candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ray_mlops.algorithms.ranking import average_precision
from ray_mlops.contract import Rule
from ray_mlops.fraud.rules import find_rule, flags, spoken

Kind = Literal["constant", "single_feature", "rule", "linear", "boosting"]
SIMPLE: tuple[Kind, ...] = ("constant", "single_feature", "rule")
MODELS: tuple[Kind, ...] = ("linear", "boosting")

ROUNDS = 80
MAX_BIN = 4095  # fraud hides in the far tail, which 255 bins fold into one
_FIT_ROWS = 150_000
_HIGHEST = 3.4e38  # of a float32, about
_FAR = 20.0  # standard deviations at which a standardised feature is cut off


@dataclass(frozen=True)
class Lesson:
    """What the candidates are fitted on: the money each row loses when missed (`stolen`) and the cost of a review."""

    names: Sequence[str]
    matrix: np.ndarray
    labels: np.ndarray
    stolen: np.ndarray
    review: float

    def take(self, rows: np.ndarray) -> "Lesson":
        """The lesson of some of the rows (mask or positions)."""
        return Lesson(self.names, self.matrix[rows], self.labels[rows], self.stolen[rows], self.review)


@dataclass(frozen=True)
class Candidate:
    """A fitted candidate: `about` says in words what it looks at; `rule` is set for the hand rule."""

    kind: Kind
    about: str
    score: Callable[[np.ndarray], np.ndarray]
    rule: Rule | None = None


def constant(lesson: Lesson) -> Candidate:
    """The same score for every row."""
    return Candidate("constant", "every row alike", lambda matrix: np.zeros(len(matrix), dtype=np.float32))


def single_feature(lesson: Lesson) -> Candidate:
    """The feature that ranks best by itself, in the better direction; missing values rank lowest."""
    found = [
        (average_precision(lesson.labels, _ranked(column, sign)), -position, sign)
        for position, column in enumerate(lesson.matrix.T)
        for sign in (1, -1)
    ]
    _, position, sign = max(found)
    name = lesson.names[-position]
    return Candidate(
        "single_feature",
        f"{'high' if sign > 0 else 'low'} {name}",
        lambda matrix: _ranked(matrix[:, -position], sign),
    )


def _ranked(column: np.ndarray, sign: int) -> np.ndarray:
    return np.nan_to_num(sign * column, nan=-_HIGHEST)


def hand_rule(lesson: Lesson) -> Candidate | None:
    """The best rule of at most two conditions; None when no feature tells any rows apart."""
    rule = find_rule(lesson.names, lesson.matrix, lesson.labels, stolen=lesson.stolen, review=lesson.review)
    if rule is None:
        return None
    names = tuple(lesson.names)
    return Candidate(
        "rule", spoken(rule), lambda matrix: flags(rule, dict(zip(names, matrix.T, strict=True))) * 1.0, rule
    )


def linear(lesson: Lesson, *, seed: int = 0) -> Candidate:
    """Logistic regression on standardised features, missing values at the mean."""
    from sklearn.linear_model import LogisticRegression

    rows, weights = thinned(lesson.labels, _FIT_ROWS, seed)
    sample = lesson.matrix[rows]
    mean = np.nan_to_num(np.nanmean(np.where(np.isnan(sample).all(axis=0), 0, sample), axis=0, dtype=np.float64))
    spread = np.nanstd(np.where(np.isnan(sample), mean, sample), axis=0, dtype=np.float64)
    spread[spread == 0] = 1.0

    def standardised(matrix: np.ndarray) -> np.ndarray:
        scaled = ((matrix - mean) / spread).astype(np.float32)
        return np.clip(np.nan_to_num(scaled, copy=False), -_FAR, _FAR)

    fitted = LogisticRegression(solver="newton-cholesky", max_iter=50).fit(
        standardised(sample), lesson.labels[rows] > 0, sample_weight=weights
    )
    coefficients, intercept = fitted.coef_[0].astype(np.float32), float(fitted.intercept_[0])
    about = f"logistic regression on {len(lesson.names)} features"
    return Candidate("linear", about, lambda matrix: _sigmoid(standardised(matrix) @ coefficients + intercept))


def boosting(lesson: Lesson, *, seed: int = 0) -> Candidate:
    """LightGBM with bins fine enough for the tail."""
    import lightgbm

    rows, weights = thinned(lesson.labels, _FIT_ROWS, seed)
    # One thread: two that wait for each other on a busy machine took 15 times as long (measured on two cores).
    parameters = {
        "objective": "binary", "learning_rate": 0.08, "num_leaves": 31, "min_data_in_leaf": 20, "max_bin": MAX_BIN,
        "feature_fraction": 0.8, "seed": seed, "num_threads": 1, "deterministic": True, "force_row_wise": True,
        "verbose": -1,
    }  # fmt: skip
    data = lightgbm.Dataset(lesson.matrix[rows], lesson.labels[rows] > 0, weight=weights)
    booster = lightgbm.train(parameters, data, ROUNDS)
    about = f"LightGBM, {ROUNDS} trees on {len(lesson.names)} features"
    return Candidate("boosting", about, lambda matrix: np.asarray(booster.predict(matrix)))


def thinned(labels: np.ndarray, limit: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """About `limit` rows in their order, with weights that make up for the rows left out. Positives are all kept
    unless they alone are more than half the limit."""
    generator = np.random.Generator(np.random.PCG64(seed))
    positive = np.asarray(labels) > 0
    share = np.ones(2)
    if len(labels) > limit:
        positives = int(positive.sum())
        share[1] = min(1.0, limit / 2 / max(positives, 1))
        share[0] = min(1.0, (limit - positives * share[1]) / max(len(labels) - positives, 1))
    kept = np.flatnonzero(generator.random(len(labels)) < share[positive.astype(int)])
    return kept, (1 / share[positive[kept].astype(int)]).astype(np.float32)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values.astype(np.float64)))
