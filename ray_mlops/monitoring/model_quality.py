"""Is the model still as good as on its test rows? By the labels that have come, reported by how long answers had for theirs.

Frauds are reported sooner than honest payments are confirmed, or the other way round: the share of positives among the labels
of the moment says little. Average precision is therefore also given as it would be at the prevalence of the test rows, and
that is what an alarm compares. An answer without a label counts for nothing.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from ray_mlops.algorithms.ranking import average_precision, ranking
from ray_mlops.monitoring import chance
from ray_mlops.monitoring.labelled import Labelled
from ray_mlops.monitoring.readings import Reading

MATURITIES = (0, 1, 3, 7, 14, 30, 60)  # days
FEWEST = 10  # positives, and negatives: fewer say nothing
_DAY_S, _BINS = 86_400, 10
_BLOCKS = 25


class Tested(NamedTuple):
    """What the evaluation found on test rows: its figures by name, the share of positives, and the share of rows selected on
    validation, which is the budget of reviews."""

    metrics: Mapping[str, float]
    prevalence: float
    budget: float


class Aged(Protocol):
    """Answers that know when they were given."""

    @property
    def answered(self) -> np.ndarray: ...

    def take(self, rows: np.ndarray) -> Self: ...


Answered = TypeVar("Answered", bound=Aged)


def by_age(answers: Answered, now: float) -> Iterator[tuple[int, Answered]]:
    """The answers that are at least so many days old, for the ages that make a difference."""
    last = -1
    for days in MATURITIES:
        part = answers.take(now - answers.answered >= days * _DAY_S)
        if len(part.answered) not in (0, last):
            last = len(part.answered)
            yield days, part


def by_maturity(labelled: Labelled, tested: Tested, now: float) -> list[dict[str, Any]]:
    """Figures of the answers that are at least so many days old, for the ages that there are."""
    found = []
    for days, part in by_age(labelled, now):
        known = part.take(part.known)
        row = {
            "days": days,
            "answers": len(part.label),
            "labelled": len(known.label),
            "positives": int(known.label.sum()),
        }
        found.append({**row, **figures(known, tested)})
    return found


def figures(known: Labelled, tested: Tested) -> dict[str, float | None]:
    """Of labelled answers; None where there are too few to say."""
    labels = known.label > 0
    if min(labels.sum(), (~labels).sum()) < FEWEST:
        return dict.fromkeys(FIGURES)
    reviewed = np.zeros(len(labels), bool)
    reviewed[np.argsort(-known.score, kind="stable")[: max(1, round(tested.budget * len(labels)))]] = True
    return {
        "average_precision": average_precision(labels, known.score),
        "best_constant": float(labels.mean()),
        "at_test_prevalence": adjusted(known, tested.prevalence),
        "precision": _share(labels & known.selected, known.selected),
        "recall": _share(labels & known.selected, labels),
        "precision_at_budget": _share(labels & reviewed, reviewed),
        "recall_at_budget": _share(labels & reviewed, labels),
        "predicted": float(known.probability.mean()),
        "observed": float(labels.mean()),
        "ece": calibration_error(known.probability, labels),
    }


FIGURES = (
    "average_precision", "best_constant", "at_test_prevalence", "precision", "recall", "precision_at_budget",
    "recall_at_budget", "predicted", "observed", "ece",
)  # fmt: skip


def adjusted(known: Labelled, prevalence: float) -> float:
    """The average precision that the same ranking has where a share `prevalence` is positive."""
    return float(_adjusted(known, prevalence, np.ones((1, 1)), np.zeros(len(known.label), np.int64), 1)[0])


def compare(labelled: Labelled, tested: Tested, *, start: float, end: float, limit: float) -> Iterator[Reading]:
    """The answers whose labels came in `[start, end)`, beside the test rows; nothing where there are too few of them.

    `limit` is the largest loss of average precision that does not matter. Its chance is by a bootstrap of the labels.
    """
    came = labelled.take((labelled.arrived >= start) & (labelled.arrived < end))
    before, positives = tested.metrics.get("average_precision"), came.label > 0
    if before is None or min(positives.sum(), (~positives).sum()) < FEWEST:
        return
    found = adjusted(came, tested.prevalence)
    error = _standard_error(came, tested.prevalence)
    yield Reading(
        monitor="model quality",
        name="average precision",
        rows=len(came.label),
        effect=before - found,
        limit=limit,
        chance=chance.normal((before - found) / error) if error > 0 else 1.0,
        words=f"{found:.3f} of {len(came.label):,} labels, {int(positives.sum()):,} of them positive; {before:.3f} in the test",
        measures={"average_precision": found, "before": before, "error": error, "best_constant": tested.prevalence},
    )


def calibration_error(probability: np.ndarray, labels: np.ndarray) -> float:
    """The expected calibration error over bins of equally many rows."""
    parts = np.array_split(np.argsort(probability, kind="stable"), _BINS)
    gaps = [len(part) * abs(probability[part].mean() - labels[part].mean()) for part in parts if len(part)]
    return float(sum(gaps) / len(labels))


def _standard_error(known: Labelled, prevalence: float) -> float:
    """Of the adjusted average precision, by a bootstrap over blocks of rows."""
    random = np.random.default_rng(0)
    positive = known.label > 0
    block = np.empty(len(positive), np.int64)
    for rows in (np.flatnonzero(positive), np.flatnonzero(~positive)):  # each block has its share of both
        block[rows] = random.permutation(np.arange(len(rows)) % _BLOCKS)
    weights = random.multinomial(_BLOCKS, np.full(_BLOCKS, 1 / _BLOCKS), size=200).astype(float)
    found = _adjusted(known, prevalence, weights, block, _BLOCKS)
    return float(np.nanstd(found)) * math.sqrt(_BLOCKS / (_BLOCKS - 1))


def _adjusted(known: Labelled, prevalence: float, weights: np.ndarray, block: np.ndarray, blocks: int) -> np.ndarray:
    """Per replicate; precision is made of the shares of both classes above each score, weighed by the prevalence."""
    ranks = ranking(known.label > 0, known.score, block, blocks)
    hits = ranks.hits @ weights.T
    caught = np.cumsum(hits, axis=0) / np.maximum(weights @ ranks.positives, 1e-12)
    false = (ranks.rivals @ weights.T) / np.maximum(weights @ ranks.negatives, 1e-12)
    precision = prevalence * caught / np.maximum(prevalence * caught + (1 - prevalence) * false, 1e-300)
    return (hits * precision).sum(axis=0) / np.maximum(weights @ ranks.positives, 1e-12)


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
    return float(part.sum() / whole.sum()) if whole.any() else None
