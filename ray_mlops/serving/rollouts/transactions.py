"""Champion and challenger of an endpoint for transactions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.online.contract import Features
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving.deadline import Turn
from ray_mlops.serving.rollouts import fitting
from ray_mlops.serving.rollouts.beside import Beside, comparison
from ray_mlops.serving.rollouts.switch import Setting, Stopwatch, Switch, Underway
from ray_mlops.serving.scoring import Scorer
from ray_mlops.serving.watching import Watcher


class Run(Protocol):
    """Runs work in the thread that scores: see `transactions.Run`."""

    def __call__(self, work: Any, /) -> Any: ...


class Scorers:
    """`switch.Family` of an endpoint for transactions."""

    def __init__(self, bundle: Bundle, champion: Scorer, watcher: Watcher | None = None) -> None:
        self._bundle, self._champion, self._watcher = bundle, champion, watcher

    def load(self, setting: Setting) -> Scorer:
        """The challenger, which has answered once; its features come from the champion's store."""
        bundle = Bundle.load(setting.bundle, digest=setting.digest)
        fitting.check(self._bundle, bundle)
        predictor = Predictor.load(bundle)
        row = np.zeros((1, len(predictor.definition.names)), np.float32)
        predictor.reasons(row, 1)
        predictor.score(row)
        own = {"predictor": predictor, "version": setting.version, "digest": setting.digest}
        watch = self._watcher.watch(bundle, predictor.definition.names) if self._watcher else None
        return replace(self._champion, **own, store=None, substitute=None, watch=watch)

    def beside(self, setting: Setting) -> Beside:
        """A side process for feature rows."""
        bundle = Bundle.load(setting.bundle, digest=setting.digest)
        fitting.check(self._bundle, bundle)
        definition = FeatureDefinition.model_validate(bundle.json("definition.json"))
        return Beside(comparison("transactions", self._bundle, setting), reading=definition)


def vectors(definition: FeatureDefinition, events: Sequence[Mapping[str, Any]], seen: Sequence[Features]) -> np.ndarray:
    """The rows that a version reads, float32 `(events, features)`, from what the champion's store saw of the events."""
    rows = [definition.vector(event, known) for event, known in zip(events, seen, strict=True)]
    return np.array(rows, np.float32).reshape(len(rows), len(definition.names))


class TransactionSwitch:
    """Answers transactions by champion or challenger, in place of `Scorer.score`."""

    def __init__(self, switch: Switch, champion: Scorer, *, patience_s: float) -> None:
        self.switch, self._champion, self._patience_s = switch, champion, patience_s

    async def score(
        self, run: Run, events: Sequence[Mapping[str, Any]], *, reasons: int, request_id: str, turn: Turn
    ) -> list[dict[str, Any]]:
        """One answer an event, in their order; they enter the history of their entities once, whoever answers."""
        champion = self._champion
        key = champion.predictor.definition.data.key
        picked = self.switch.pick(str(events[0][key]).encode() if events else b"")
        seen, rows = await run(lambda: champion.observe(events))

        def champions(watch: Stopwatch) -> list[dict[str, Any]]:
            answers = watch.own(lambda: champion.judge(events, rows, reasons))
            if turn.take():
                champion.log(events, rows, answers, request_id)
            return answers

        async def challengers(underway: Underway, watch: Stopwatch) -> list[dict[str, Any]]:
            challenger, in_time = underway.challenger, Turn()

            def judged() -> list[dict[str, Any]]:
                own = vectors(challenger.predictor.definition, events, seen)
                answers = watch.own(lambda: challenger.judge(events, own, reasons))
                if in_time.take() and turn.take():
                    challenger.log(events, own, answers, request_id)
                return answers

            try:
                return await underway.work(judged, self._patience_s)
            finally:
                in_time.take()  # what comes later must not be logged: the champion has answered

        async def by_champion(watch: Stopwatch) -> list[dict[str, Any]]:
            return await run(lambda: champions(watch))

        answers = await self.switch.counted(picked, by_champion, challengers)
        if (now := picked.now) and events:
            definition = now.beside.reading
            now.beside.offer(lambda: [rows.tobytes(), vectors(definition, events, seen).tobytes()])
        return answers
