"""One request, from events to answers: features from the entity store, scores, reasons, a line in the capture log; and
labels, which come later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ray_mlops.contract import LABEL_LINE
from ray_mlops.fraud.predictor import ACTIONS, Predictor, Scores
from ray_mlops.online.contract import EntityStore, Features, Stats
from ray_mlops.online.rows import observed
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.deadline import Turn
from ray_mlops.serving.substitute import Substitute
from ray_mlops.serving.watching import Watch


@dataclass(frozen=True)
class Scorer:
    """Scores events for one version of a model. Called from one thread at a time, but for what is `quick`.

    `store` is None when the features need no history, `watch` where nobody monitors.
    """

    predictor: Predictor
    store: EntityStore | None
    capture: Capture
    version: str
    digest: str
    substitute: Substitute | None = None
    watch: Watch | None = None

    def score(
        self, events: Sequence[Mapping[str, Any]], *, reasons: int, request_id: str, turn: Turn | None = None
    ) -> list[dict[str, Any]]:
        """One answer per event, in their order; scoring an event also makes it part of its entities' history.

        They are not logged where another answer has taken the turn.
        """
        _, rows = self.observe(events)
        answers = self.judge(events, rows, reasons)
        if turn is None or turn.take():
            self.log(events, rows, answers, request_id)
        return answers

    def observe(self, events: Sequence[Mapping[str, Any]]) -> tuple[Sequence[Features], np.ndarray]:
        """`online.observed`: makes events part of their entities' history."""
        return observed(self.predictor.definition, self.store, events)

    def judge(self, events: Sequence[Mapping[str, Any]], rows: np.ndarray, reasons: int) -> list[dict[str, Any]]:
        """One answer per event, for the rows that were made of them."""
        return self._answers(events, self.predictor.score(rows), self.predictor.reasons(rows, reasons))

    def quick(self, events: Sequence[Mapping[str, Any]], reasons: int) -> bool:
        """Whether to score them costs less than to hand them to another thread: nobody is asked, nothing is explained."""
        return self.store is None and reasons == 0 and len(events) <= self.predictor.quick_rows

    def degraded(self, events: Sequence[Mapping[str, Any]], *, request_id: str) -> list[dict[str, Any]]:
        """One answer per event without model and history, marked `degraded` here and in the log.

        The events are not in the history of their entities before the log is read, at the next deployment.
        """
        assert self.substitute
        scores = self.predictor.judged(self.substitute.scores(self.predictor, events))
        marked = {"degraded": self.substitute.kind}
        answers = [{**answer, **marked} for answer in self._answers(events, scores, [[] for _ in events])]
        same = {**self._same(request_id), **marked}
        self.capture.write(
            {**same, "id": answer["id"], "inputs": event, "score": answer["score"], "decision": answer["decision"]}
            for event, answer in zip(events, answers, strict=True)
        )
        if self.watch:
            self.watch.degraded(len(answers))
        return answers

    def _answers(
        self, events: Sequence[Mapping[str, Any]], scores: Scores, reasons: Sequence[Any]
    ) -> list[dict[str, Any]]:
        key = self.predictor.definition.data.key
        return [
            {
                "id": event[key],
                "score": float(scores.score[place]),
                "probability": float(scores.probability[place]),
                "decision": ACTIONS[scores.action[place]],
                "reasons": why,
            }
            for place, (event, why) in enumerate(zip(events, reasons, strict=True))
        ]

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

    def log(
        self,
        events: Sequence[Mapping[str, Any]],
        rows: np.ndarray,
        answers: Sequence[Mapping[str, Any]],
        request_id: str,
    ) -> None:
        """Have answers counted and captured, with the rows that they rest on."""
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
        if self.watch:
            scores, decisions = ([answer[name] for answer in answers] for name in ("score", "decision"))
            self.watch.seen(rows, scores, decisions, events)
