"""What can be read off the logged answers of an endpoint for transactions: how good they were, and what they rested on."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from ray_mlops.fraud.predictor import Predictor
from ray_mlops.monitoring import attribution, labelled, model_quality
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.labelled import Labelled
from ray_mlops.monitoring.model_quality import Tested
from ray_mlops.monitoring.readings import Reading
from ray_mlops.platform.bundle import Bundle

DEFINITION = "definition.json"  # what tells the bundle of a model of transactions
EXPLAINED = 500  # rows of a window


class Answers:
    """The log in `capture`, read at most once, beside what the bundle says of the test; `since` is the first moment whose
    attributions will be asked for."""

    def __init__(self, bundle: Bundle, baseline: Baseline, capture: str, *, loss: float, since: float) -> None:
        self._bundle, self._baseline, self._capture = bundle, baseline, capture
        self._loss, self._since = loss, since

    def __call__(self, start: int, end: int) -> Iterator[Reading]:
        """The readings of model quality and of attributions in `[start, end)`, seconds since the epoch."""
        tested = self.tested
        if tested is not None:
            yield from model_quality.compare(self._labelled, tested, start=start, end=end, limit=self._loss)
        times, rows = self._explained
        chosen = np.flatnonzero((times >= start) & (times < end))
        chosen = chosen[:: max(1, -(-len(chosen) // EXPLAINED))]
        if len(chosen):
            contributions = np.asarray(self._predictor.model.explain(rows[chosen]), np.float64)
            names = self._predictor.definition.names
            yield from attribution.compare(self._baseline.importance, names, contributions)

    def quality(self, now: float) -> list[dict[str, Any]]:
        """The quality of answers by the age of their labels; nothing where there are no labels."""
        tested = self.tested
        return model_quality.by_maturity(self._labelled, tested, now) if tested and len(self._labelled.label) else []

    @cached_property
    def tested(self) -> Tested | None:
        """What the evaluation found; None where the bundle does not say."""
        if not (self._bundle.has("evaluation.json") and self._bundle.has("lineage.json")):
            return None
        told = self._bundle.json("lineage.json")
        positives, rows = (told[name].get("test", 0) for name in ("positives", "rows"))
        decided = self._baseline.decisions
        selected = sum(decided.values()) - decided.get(self._baseline.unselected, 0)
        budget = selected / max(sum(decided.values()), 1)
        return Tested(self._bundle.json("evaluation.json"), positives / rows, budget) if rows else None

    @cached_property
    def _labelled(self) -> Labelled:
        return labelled.read(self._capture, self._bundle.digest, unselected=self._baseline.unselected)

    @cached_property
    def _explained(self) -> tuple[np.ndarray, np.ndarray]:
        names = self._predictor.definition.names
        return labelled.explained(self._capture, self._bundle.digest, names, self._since)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor.load(self._bundle)
