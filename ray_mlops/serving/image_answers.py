"""From the files of a request to answers, and a line a picture in the capture log."""

import asyncio
import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from ray_mlops.serving.batching import Batcher
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.deadline import Turn
from ray_mlops.serving.edge import refused
from ray_mlops.serving.watching import Watch
from ray_mlops.vision.decoding import Undecodable, probe
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.signals import SEEN, shapes, signals


@dataclass(frozen=True)
class Pinned:
    """The version that answers, and what counts its answers."""

    version: str
    digest: str
    watch: Watch | None = None

    @property
    def named(self) -> dict[str, str]:
        """The version in a line of the log."""
        return {"version": self.version, "digest": self.digest}


class Look(NamedTuple):
    """The probabilities of a picture `(classes,)`, and its distance from training."""

    probabilities: np.ndarray
    distance: float


class Answerer:
    """Reads pictures in `decoders` threads and answers them in batches of the model.

    `prior`, the share of each class `(classes,)`, is what is told of pictures for which there is no time.
    """

    def __init__(
        self,
        predictor: ImagePredictor,
        capture: Capture,
        pinned: Pinned,
        *,
        batch: int,
        decoders: int = 2,
        prior: np.ndarray | None = None,
    ) -> None:
        self.predictor, self.capture, self.pinned, self.prior = predictor, capture, pinned, prior
        self._watch = pinned.watch
        self._batch, self._decoders = batch, decoders
        self._readers = ThreadPoolExecutor(max_workers=decoders, thread_name_prefix="decoding")
        self.batcher: Batcher[np.ndarray, Look] = Batcher(self._predict, most=batch)

    def without_prior(self) -> "Answerer":
        """The same, which tells nothing of pictures that it has not looked at; both share their batches."""
        same = copy.copy(self)
        same.prior = None
        return same

    def beside(self, predictor: ImagePredictor, pinned: Pinned) -> "Answerer":
        """Another version that answers as this one does, into the same log, in threads of its own."""
        return Answerer(predictor, self.capture, pinned, batch=self._batch, decoders=self._decoders)

    def _predict(self, pictures: Sequence[np.ndarray]) -> Sequence[Look]:
        return [Look(*one) for one in zip(*self.predictor.placed(np.stack(pictures)), strict=True)]

    async def answer(
        self, files: Mapping[str, bytes], *, top: int, request_id: str, turn: Turn
    ) -> list[dict[str, Any]]:
        """One answer a file, in their order; raises `BadRequest` 422 naming the field of one that is no picture.

        They are not logged where another answer has taken the turn.
        """
        loop = asyncio.get_running_loop()
        reading = [loop.run_in_executor(self._readers, self._read, *named) for named in files.items()]
        pixels = await asyncio.gather(*reading)
        looks = await self.batcher.ask(pixels)
        answers = [_told(self.predictor.top(one.probabilities, top)) for one in looks]
        if turn.take():
            await loop.run_in_executor(self._readers, self._log, np.stack(pixels), looks, answers, files, request_id)
        return answers

    def degraded(self, files: Mapping[str, bytes], *, top: int, request_id: str) -> list[dict[str, Any]]:
        """One answer a file that has not been looked at, marked `degraded` here and in the log."""
        assert self.prior is not None
        marked = {"degraded": "prior"}
        answer = {**_told(self.predictor.top(self.prior, top)), **marked}
        line = {**self._same(request_id), "score": answer["probability"], "decision": answer["class"], **marked}
        self.capture.write(
            {**line, "id": picture_id(request_id, place_of(field)), "bytes": len(file)} for field, file in files.items()
        )
        if self._watch:
            self._watch.degraded(len(files))
        return [answer for _ in files]

    def _same(self, request_id: str) -> dict[str, Any]:
        return {"time": datetime.now(UTC), "request_id": request_id, **self.pinned.named}

    def _read(self, field: str, file: bytes) -> np.ndarray:
        try:
            return self.predictor.transform.read(file)
        except Undecodable as error:
            raise refused(422, str(error), field) from None

    def _log(
        self,
        pixels: np.ndarray,
        looks: Sequence[Look],
        answers: Sequence[Mapping[str, Any]],
        files: Mapping[str, bytes],
        request_id: str,
    ) -> None:
        headers = map(probe, files.values())
        sizes = np.array([(header.width, header.height) for header in headers])
        distances = np.array([[look.distance] for look in looks], np.float32)
        same, found = self._same(request_id), np.concatenate([signals(pixels), shapes(sizes), distances], axis=1)
        if self._watch:
            scores, decisions = ([answer[name] for answer in answers] for name in ("probability", "class"))
            self._watch.seen(found, scores, decisions)
        self.capture.write(
            {
                **same,
                "id": picture_id(request_id, place_of(field)),
                "features": dict(zip(SEEN, seen.tolist(), strict=True)),
                "score": answer["probability"],
                "decision": answer["class"],
                "bytes": len(file),
            }
            for seen, answer, (field, file) in zip(found, answers, files.items(), strict=True)
        )


def picture_id(request_id: str, place: int) -> str:
    """Names an answer, so that its label finds it: the request, and of a request with several pictures the place of each."""
    return f"{request_id} {place}" if place else request_id  # no id of a request holds a space


def place_of(field: str) -> int:
    """The place of a picture among those of its request, from the field that it came in: 3 of `images.3`, 0 of `image`."""
    place = field.rpartition(".")[2]
    return int(place) if place.isdecimal() else 0


def _told(top: list[dict[str, Any]]) -> dict[str, Any]:
    return {"class": top[0]["class"], "probability": top[0]["probability"], "top": top}
