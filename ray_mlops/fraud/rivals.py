"""Whom a model is compared with on the same rows: the hand rule of the decision and the champion of the registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_mlops.contract import Algorithm, Features, ModelVersion, Rule
from ray_mlops.fraud.appraisal import Scored
from ray_mlops.fraud.examination import Rival
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.fraud.rules import spoken
from ray_mlops.fraud.scoring import CHAMPION, CHAMPION_ALERT, RULE, Plan, from_history
from ray_mlops.platform import files, tables
from ray_mlops.platform.bundle import Bundle


@dataclass(frozen=True)
class Champion:
    """A registered version with its predictor."""

    version: ModelVersion
    predictor: Predictor

    @property
    def about(self) -> str:
        return f"version {self.version.version} of {self.version.name}"


@dataclass(frozen=True)
class Against:
    """The rule and the champion as far as they can be scored on these features; `notes` say why one cannot."""

    definition: FeatureDefinition
    rule: Rule | None = None
    champion: Champion | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, features: Features, rule: Rule | None, version: ModelVersion | None) -> "Against":
        """Open the champion's bundle; a rule or champion that reads columns the data lack is left out with a note."""
        definition = FeatureDefinition.model_validate(files.read_json(features.definition))
        notes: list[str] = []
        if rule is not None and (lacking := {condition.column for condition in rule.conditions} - set(features.names)):
            notes.append(f"The rule of the decision reads {', '.join(sorted(lacking))}, no feature here: left out.")
            rule = None
        champion = None
        if version is not None:
            predictor = Predictor.load(Bundle.load(version.uri, digest=version.digest))
            champion = Champion(version, predictor)
            if lacking := set(predictor.definition.needed) - set(features.history.columns):
                notes.append(
                    f"Champion {version.version} reads {', '.join(sorted(lacking))}, not in the data: left out."
                )
                champion = None
        return cls(definition, rule, champion, tuple(notes))

    def plan(self, kept: tuple[str, ...], algorithm: Algorithm, model: str) -> Plan:
        """How feature rows are scored; `model` is the folder of the fitted model."""
        same = self.champion is not None and self.champion.predictor.definition == self.definition
        bundle = self.champion.version.uri if self.champion is not None and same else ""
        return Plan(self.definition, kept, algorithm, model, self.rule, bundle)

    def rivals(self, test: pa.Table, features: Features) -> Mapping[str, Rival]:
        """What rule and champion said of the scored test rows; a champion that reads other features than the current
        ones is scored here, from the history."""
        found = {}
        if self.rule is not None:
            flagged = test[RULE].to_numpy()
            found["rule"] = Rival(spoken(self.rule), Scored(flagged.astype(np.float64), flagged))
        if self.champion is not None:
            if CHAMPION not in test.column_names:
                test = from_history(test, _history(self.champion.predictor, features), self.champion.predictor)
            scored = Scored(test[CHAMPION].to_numpy(), test[CHAMPION_ALERT].to_numpy())
            found["champion"] = Rival(self.champion.about, scored)
        return found


def _history(predictor: Predictor, features: Features) -> pa.Table:
    """The events that the champion's windows of the test rows can see."""
    definition, test = predictor.definition, features.intervals["test"]
    time = pc.field(definition.data.time)
    within = time < test.end
    if not any(definition.arrival(window) for window in definition.windows):
        back = max((window.reach_us for window in definition.windows), default=0)
        within &= time >= test.start - timedelta(microseconds=back)
    return tables.load(features.history, list(definition.needed), within)
