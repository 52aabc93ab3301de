"""Is a classifier of images still as good as on its test pictures? By the labels that have come, told by the age of the answers.

Which pictures get a label is for those who bring them to choose: where only mistakes are reported, all that is labelled is
mistaken. Labels of pictures that were drawn at random say how good the answers are.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ray_mlops.monitoring import chance
from ray_mlops.monitoring.labelled import Classified
from ray_mlops.monitoring.model_quality import by_age, calibration_error
from ray_mlops.monitoring.readings import Reading
from ray_mlops.vision.metrics import confusion_matrix, per_class

FEWEST = 20  # labels: fewer say nothing
FIGURES = ("accuracy", "best_constant", "macro_f1", "predicted", "ece")


class Tested(NamedTuple):
    """What the evaluation found on test pictures: its figures by name, and how many pictures there were."""

    metrics: Mapping[str, float]
    rows: int


def by_maturity(classified: Classified, classes: Sequence[str], now: float) -> list[dict[str, Any]]:
    """Figures of the answers that are at least so many days old, for the ages that there are."""
    found = []
    for days, part in by_age(classified, now):
        known = part.take(part.known)
        counted = {"days": days, "answers": len(part.label), "labelled": len(known.label)}
        found.append({**counted, **figures(known, classes)})
    return found


def figures(known: Classified, classes: Sequence[str]) -> dict[str, float | None]:
    """Of labelled answers; None where there are too few to say. `accuracy` is top-1, `best_constant` that of always telling the
    most frequent label, `macro_f1` that of the classes that were labelled, `predicted` the mean probability of what was told."""
    if len(known.label) < FEWEST:
        return dict.fromkeys(FIGURES)
    right = known.told == known.label
    other = len(classes)  # a class of another version
    places = {name: place for place, name in enumerate(classes)}
    told, labels = (np.array([places.get(name, other) for name in part.tolist()]) for part in (known.told, known.label))
    each = per_class(confusion_matrix(told, labels, other + 1), [*classes, ""])[:other]
    return {
        "accuracy": float(right.mean()),
        "best_constant": max(Counter(known.label.tolist()).values()) / len(right),
        "macro_f1": float(np.mean([one["f1"] for one in each if one["rows"]])),
        "predicted": float(known.probability.mean()),
        "ece": calibration_error(known.probability, right),
    }


def compare(classified: Classified, tested: Tested, *, start: float, end: float, limit: float) -> Iterator[Reading]:
    """The answers whose labels came in `[start, end)`, beside the test pictures; nothing where there are too few of them.

    `limit` is the largest loss of accuracy that does not matter. Its chance is by Fisher's exact test of the mistakes.
    """
    came = classified.take((classified.arrived >= start) & (classified.arrived < end))
    before, rows = tested.metrics.get("accuracy"), len(came.label)
    if before is None or rows < FEWEST:
        return
    wrong = int((came.told != came.label).sum())
    found = 1 - wrong / rows
    best = max(Counter(came.label.tolist()).values()) / rows
    yield Reading(
        monitor="model quality",
        name="top-1",
        rows=rows,
        effect=before - found,
        limit=limit,
        chance=chance.more_often((wrong, rows), (round((1 - before) * tested.rows), tested.rows)),
        words=f"{found:.3f} of {rows:,} labels; {before:.3f} in the test, {best:.3f} by the most frequent label alone",
        measures={"accuracy": found, "before": before, "best_constant": best},
    )
