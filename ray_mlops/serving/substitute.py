"""The score of a transaction for which there is no time: by the rule of the decision, or by one set for the case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ray_mlops.contract import Rule
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.fraud.rules import flags
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving.limits import Degraded

DECISION = "decision.json"


@dataclass(frozen=True)
class Substitute:
    """Scores without a model and without a history. What the rule catches gets `caught`, the rest `score`."""

    score: float
    rule: Rule | None = None
    caught: float = 1.0

    @classmethod
    def of(cls, config: Degraded, predictor: Predictor, bundle: Bundle) -> "Substitute | None":
        """The one that the configuration asks for and the bundle allows; None where an error is asked for.

        A rule catches what a person should look at, so `caught` is the score from which transactions are reviewed.
        """
        if config.answer == "error":
            return None
        given = bundle.json(DECISION).get("rule") if config.answer == "rule" and bundle.has(DECISION) else None
        rule = Rule.model_validate(given) if given else None
        if rule is None or not _answerable(rule, predictor):
            return cls(config.score)
        finite = [limit for limit in predictor.limits if limit <= 1]
        return cls(config.score, rule, float(finite[0]) if finite else 1.0)

    def scores(self, predictor: Predictor, events: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """One score an event, float64 `(events,)`."""
        if self.rule is None:
            return np.full(len(events), self.score)
        definition = predictor.definition
        unknown = dict.fromkeys(definition.computed, float("nan"))
        rows = np.array([definition.vector(event, unknown) for event in events], np.float32)
        held = flags(self.rule, dict(zip(definition.names, rows.T, strict=True)))
        return np.where(held, max(self.caught, self.score), self.score)

    @property
    def kind(self) -> Literal["rule", "score"]:
        """What the answers are marked with."""
        return "rule" if self.rule else "score"


def _answerable(rule: Rule, predictor: Predictor) -> bool:
    """Whether a transaction alone tells if the rule holds: none of its columns is a window's."""
    definition = predictor.definition
    windows = {name for window in definition.windows for name in window.names()}
    known = set(definition.names) - windows
    return all(each.column in known and not isinstance(each.value, str) for each in rule.conditions)
