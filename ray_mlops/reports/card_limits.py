"""What a reader of a model card must be told that figures alone do not say, found in the figures."""

from collections.abc import Iterator, Mapping
from typing import Any

from ray_mlops.reports.numerals import percent

FEWEST_FRAUDS = 100
_LARGE_ERROR = 0.05  # of a calibrated probability
_LARGE_LOSS = 0.10  # of accuracy on spoilt pictures, or of a class's recall below the accuracy

Known = Mapping[str, Any]


def limits(stated: Known, appraisal: Known, known: Known) -> Iterator[str]:
    """Sentences: those that people stated, then those that the figures, the decision and the lineage give."""
    yield from stated.get("limits", ())
    yield from _decided(known["decision"])
    yield from _time(known["lineage"])
    yield from _uncertain(appraisal, known["evaluation"])
    yield from _weak_slices(appraisal)
    yield from _pictures(appraisal)
    if "metrics" in appraisal and not appraisal.get("groups"):
        yield "No groups of people were declared (evaluate.groups), so whether they are treated alike was not examined."
    if stated.get("risk", "not rated") == "not rated":
        yield "Nobody has rated the risk of its use (register.card.risk)."


def _decided(decision: Known) -> Iterator[str]:
    if decision.get("override"):
        yield f"It was trained against the decision {decision['verdict']}, because: {decision['override']}"


def _time(lineage: Known) -> Iterator[str]:
    if train := lineage.get("intervals", {}).get("train"):
        yield f"It learned from events until {train['end'][:10]}: what has changed since then it has not seen."


def _uncertain(appraisal: Known, metrics: Known) -> Iterator[str]:
    frauds = appraisal.get("data", {}).get("positives")
    if frauds is not None and frauds < FEWEST_FRAUDS:
        yield f"It was judged on {frauds} frauds only: every figure is uncertain."
    yield from appraisal.get("notes", ())
    if metrics.get("gain_over_rule_low", 1.0) <= 0:
        yield "Its gain in average precision over the best hand rule may be chance: the interval reaches 0."
    if metrics.get("ece", 0.0) > _LARGE_ERROR:
        yield f"Its probabilities are off by {percent(metrics['ece'], 1)} on average: use them with care."


def _weak_slices(appraisal: Known) -> Iterator[str]:
    whole = appraisal.get("metrics", {}).get("recall", {}).get("value")
    for part in appraisal.get("slices", ()):
        found = part["metrics"]["recall"]
        if whole is not None and found["high"] is not None and found["high"] < whole:
            yield (
                f"It catches fewer frauds where {part['by']} is {part['value']}: "
                f"{percent(found['value'], 1)} of them, {percent(whole, 1)} over all."
            )


def _pictures(appraisal: Known) -> Iterator[str]:
    accuracy = appraisal.get("accuracy", {}).get("value")
    if accuracy is None:
        return
    for row in appraisal.get("per_class", ()):
        if row["recall"] is not None and row["recall"] < accuracy - _LARGE_LOSS:
            yield f"It recognises {percent(row['recall'], 1)} of class {row['class']}, {percent(accuracy, 1)} over all."
    for row in appraisal.get("robustness", ()):
        if row["accuracy"] < appraisal["robustness"][0]["accuracy"] - _LARGE_LOSS:
            strength = f" {row['strength']}" if row["strength"] != "" else ""
            yield f"Its accuracy falls to {percent(row['accuracy'], 1)} on pictures with {row['kind']}{strength}."
