"""What a model card needs beside the bundle's other files: what people state of a model, and how it was judged."""

from collections.abc import Mapping
from typing import Any, Literal

from ray_mlops.contract import Evaluation, Frozen
from ray_mlops.platform import files

CARD = "card.json"
_APPRAISAL = (
    "metrics", "attainable", "slices", "groups", "data", "notes", "intervals", "thresholds",  # transactions
    "figures", "accuracy", "rows", "per_class", "robustness", "ece_before", "calibration",  # images
)  # fmt: skip


class CardConfig(Frozen):
    """What only people know of a model: what it is for and not for, who answers for it, how risky its use is, its limits."""

    purpose: str = ""
    not_for: tuple[str, ...] = ()
    owner: str = ""
    risk: Literal["low", "medium", "high", "not rated"] = "not rated"
    limits: tuple[str, ...] = ()


def content(stated: CardConfig, evaluation: Evaluation) -> dict[str, Any]:
    """The content of the bundle's `card.json`: `stated`, and `appraisal`, the figures of the evaluation with intervals."""
    details: Mapping[str, Any] = files.read_json(evaluation.details)
    appraisal = {name: details[name] for name in _APPRAISAL if name in details}
    if asked := details.get("importance"):
        appraisal["importance"] = {**asked, "points": []}  # single rows are for the page of the evaluation
    return {"stated": stated.model_dump(mode="json"), "appraisal": appraisal}
