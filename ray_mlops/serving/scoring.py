"""One request, from events to answers: features from the entity store, scores, reasons, a line in the capture log; and
labels, which come later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ray_mlops.contract import LABEL_LINE
from ray_mlops.fraud.predictor import ACTIONS, Predictor
from ray_mlops.online.contract import EntityStore, Stats
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

    def label(self, labels: Sequence[Mapping[str, Any]], *, request_id: str) -> list[Any]:
        """Record labels, each as of when it became known; the ids of those whose event is not known (any more).

        Their labels wait for them. Without a store nobody asks for the events: the labels are only logged.
        """
        data, now = self.predictor.definition.data, datetime.now(UTC)
        read = [(one[data.key], one[data.label], one[data.label_time] if data.label_time else now) for one in labels]
        known = self.store.label_many(read) if self.store else [True] * len(read)
        same = {"kind": LABEL_LINE, **self._same(request_id)}
        self.capture.write({**same, "id": key, "label": value, "label_time": at} for key, value, at in read)
        return [key for (key, _, _), there in zip(read, known, strict=True) if not there]

    def stats(self) -> Stats:
        """What the store has seen and holds; all zero where features need no history."""
        return self.store.stats() if self.store else Stats()

    def _same(self, request_id: str) -> dict[str, Any]:
        now = datetime.now(UTC)
        return {"time": now, "request_id": request_id, "version": self.version, "digest": self.digest}

    def _log(
        self,
        events: Sequence[Mapping[str, Any]],
        rows: np.ndarray,
        answers: Sequence[Mapping[str, Any]],
        request_id: str,
    ) -> None:
        names, same = self.predictor.definition.names, self._same(request_id)
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
