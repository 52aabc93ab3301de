"""One request, from events to answers: features from the entity store, scores, reasons, a line in the capture log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ray_mlops.fraud.predictor import ACTIONS, Predictor
from ray_mlops.online.contract import EntityStore
from ray_mlops.online.rows import observed
from ray_mlops.serving.capture import Capture


@dataclass(frozen=True)
class Scorer:
    """Scores events for one version of a model. Called from one thread at a time.

    `store` is None when the features need no history.
    """

    predictor: Predictor
    store: EntityStore | None
    capture: Capture
    version: str
    digest: str

    def score(self, events: Sequence[Mapping[str, Any]], *, reasons: int, request_id: str) -> list[dict[str, Any]]:
        """One answer per event, in their order; scoring an event also makes it part of its entities' history."""
        definition = self.predictor.definition
        _, rows = observed(definition, self.store, events)
        scores = self.predictor.score(rows)
        answers = [
            {
                "id": event[definition.data.key],
                "score": float(scores.score[place]),
                "probability": float(scores.probability[place]),
                "decision": ACTIONS[scores.action[place]],
                "reasons": why,
            }
            for place, (event, why) in enumerate(zip(events, self.predictor.reasons(rows, reasons), strict=True))
        ]
        self._log(events, rows, answers, request_id)
        return answers

    def _log(
        self,
        events: Sequence[Mapping[str, Any]],
        rows: np.ndarray,
        answers: Sequence[Mapping[str, Any]],
        request_id: str,
    ) -> None:
        names, now = self.predictor.definition.names, datetime.now(UTC)
        same = {"time": now, "request_id": request_id, "version": self.version, "digest": self.digest}
        self.capture.write(
            {
                **same,
                "id": answer["id"],
                "inputs": event,
                "features": dict(zip(names, row.tolist(), strict=True)),
                "score": answer["score"],
                "probability": answer["probability"],
                "decision": answer["decision"],
            }
            for event, row, answer in zip(events, rows, answers, strict=True)
        )
