"""Champion and challenger of an endpoint for images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving.deadline import Turn
from ray_mlops.serving.image_answers import Answerer, Pinned
from ray_mlops.serving.rollouts import fitting
from ray_mlops.serving.rollouts.beside import Beside, comparison
from ray_mlops.serving.rollouts.switch import Setting, Stopwatch, Switch, Underway
from ray_mlops.serving.watching import Watcher
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.signals import SEEN

MOST_WAITING = 32  # pictures are larger than rows


class Answerers:
    """`switch.Family` of an endpoint for images."""

    def __init__(self, bundle: Bundle, champion: Answerer, watcher: Watcher | None = None) -> None:
        self._bundle, self._champion, self._watcher = bundle, champion, watcher

    def load(self, setting: Setting) -> Answerer:
        """The challenger, which has answered once."""
        bundle = Bundle.load(setting.bundle, digest=setting.digest)
        fitting.check(self._bundle, bundle)
        predictor = ImagePredictor.load(bundle)
        predictor.probabilities(np.zeros((1, *predictor.transform.shape), np.uint8))
        watch = self._watcher.watch(bundle, SEEN) if self._watcher else None
        return self._champion.beside(predictor, Pinned(setting.version, setting.digest, watch))

    def beside(self, setting: Setting) -> Beside:
        """A side process for pictures."""
        fitting.check(self._bundle, Bundle.load(setting.bundle, digest=setting.digest))
        return Beside(comparison("images", self._bundle, setting), most_waiting=MOST_WAITING)


class PictureSwitch:
    """Answers pictures by champion or challenger, in place of `Answerer.answer`."""

    def __init__(self, switch: Switch, champion: Answerer, *, patience_s: float) -> None:
        self.switch, self._champion, self._patience_s = switch, champion, patience_s

    async def answer(
        self, files: Mapping[str, bytes], *, top: int, request_id: str, turn: Turn
    ) -> list[dict[str, Any]]:
        """One answer a file, in their order; the content of the first chooses who answers."""
        given = list(files.values())
        picked = self.switch.pick(given[0] if given else b"")

        async def by(answerer: Answerer) -> list[dict[str, Any]]:
            return await answerer.answer(files, top=top, request_id=request_id, turn=turn)

        async def challengers(underway: Underway, _: Stopwatch) -> list[dict[str, Any]]:
            return await underway.wait(by(underway.challenger), self._patience_s)

        answers = await self.switch.counted(picked, lambda _: by(self._champion), challengers)
        if (now := picked.now) and given:
            now.beside.offer(lambda: given, size=sum(map(len, given)))
        return answers
