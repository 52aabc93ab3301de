"""Scores of feature rows by the model under evaluation, the champion and the hand rule: the same code on any batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ray_mlops.contract import Algorithm, Rule
from ray_mlops.fraud.calibration import IDENTITY
from ray_mlops.fraud.encoding import encode_numbers
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.fraud.rules import flags
from ray_mlops.platform import files
from ray_mlops.platform.bundle import Bundle

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
SCORE, RULE, CHAMPION, CHAMPION_ALERT = "score", "rule_alert", "champion_score", "champion_alert"


@dataclass(frozen=True)
class Plan:
    """What to score with; small until its first use, so that it can be sent to workers.

    `definition` made the feature rows, `model` is the folder of the fitted model, `champion` the bundle of a model that
    reads the same feature rows (empty: none).
    """

    definition: FeatureDefinition
    kept: Sequence[str]
    algorithm: Algorithm
    model: str
    rule: Rule | None = None
    champion: str = ""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The kept columns of a batch of feature rows and its scores."""
        found = batch.select(list(self.kept))
        columns = {name: encode_numbers(batch[name]).astype(np.float32) for name in self.definition.names}
        matrix = np.column_stack(list(columns.values())) if columns else np.empty((batch.num_rows, 0), np.float32)
        found = found.append_column(SCORE, pa.array(self.predictor.score(matrix).score))
        if self.rule is not None:
            found = found.append_column(RULE, pa.array(flags(self.rule, columns)))
        if self._champion is not None:
            found = with_champion(found, self._champion, matrix)
        return found

    @cached_property
    def predictor(self) -> Predictor:
        """The model under evaluation, without thresholds."""
        with files.localised(self.model) as folder:
            return Predictor(self.algorithm.load(folder), self.definition, IDENTITY.points(), {})

    @cached_property
    def _champion(self) -> Predictor | None:
        return Predictor.load(Bundle.load(self.champion)) if self.champion else None


def with_champion(table: pa.Table, champion: Predictor, matrix: np.ndarray) -> pa.Table:
    """The table with the champion's score and whether it would have reviewed or blocked, from its own feature rows."""
    found = champion.score(matrix)
    return table.append_column(CHAMPION, pa.array(found.score)).append_column(
        CHAMPION_ALERT, pa.array(found.action > 0)
    )


def from_history(rows: pa.Table, history: pa.Table, champion: Predictor) -> pa.Table:
    """`with_champion` for a champion with other features than the current ones: they are computed anew for the keys of
    `rows` from a history that holds the columns it needs."""
    definition, key = champion.definition, champion.definition.data.key
    computed = definition.compute(history.select(list(definition.needed)))
    places = pc.index_in(rows[key], value_set=computed[key].combine_chunks())
    return with_champion(rows, champion, definition.encode(computed.take(places)))
