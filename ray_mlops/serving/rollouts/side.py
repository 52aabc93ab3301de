"""What runs in a side process: `python -m ray_mlops.serving.rollouts.side JOB`. Frames come in, counts go out, one JSON a line.

It ends with its replica.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import orjson

from ray_mlops.platform import processes
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.priority import come_last
from ray_mlops.serving.rollouts.beside import Job, read_frame
from ray_mlops.serving.rollouts.tally import Answers, LaneCounter, Pairs, Tally, compared

_EVERY_S = 0.2

Answering = Callable[[Sequence[bytes]], Answers]


class Comparison:
    """Both variants on the same frames. One that fails fails for itself."""

    def __init__(self, champion: Answering, challenger: Answering) -> None:
        self._variants, self._lanes = (champion, challenger), (LaneCounter(), LaneCounter())
        self._pairs, self._frames = Pairs(), 0

    def add(self, frame: Sequence[bytes]) -> None:
        """Answer one frame with both, in turn the one and the other first."""
        self._frames += 1
        order = (0, 1) if self._frames % 2 else (1, 0)
        found = {place: self._timed(place, frame) for place in order}
        if (champion := found[0]) is not None and (challenger := found[1]) is not None:
            self._pairs = self._pairs.plus(compared(champion, challenger))

    def tally(self) -> Tally:
        """What has been counted."""
        champion, challenger = (lane.lane() for lane in self._lanes)
        return Tally(beside_champion=champion, beside_challenger=challenger, pairs=self._pairs)

    def _timed(self, place: int, frame: Sequence[bytes]) -> Answers | None:
        began = time.perf_counter()
        try:
            answers = self._variants[place](frame)
        except Exception:  # noqa: BLE001 - an error of a variant is what is counted here
            self._lanes[place].add(time.perf_counter() - began, failed=True)
            return None
        self._lanes[place].add(time.perf_counter() - began)
        return answers


def transactions(job: Job) -> Comparison:
    """Compares versions on feature rows: part 0 of a frame is the champion's, part 1 the challenger's, float32."""
    from ray_mlops.fraud.predictor import Predictor

    def answering(place: int, bundle: tuple[str, str]) -> Answering:
        predictor = Predictor.load(Bundle.load(bundle[0], digest=bundle[1]))
        width = len(predictor.definition.names)

        def answer(frame: Sequence[bytes]) -> Answers:
            found = predictor.score(np.frombuffer(frame[place], np.float32).reshape(-1, width))
            return Answers(found.score, found.action, found.action > 0)

        answer([np.zeros((1, width), np.float32).tobytes()] * 2)  # the first one is slow
        return answer

    return Comparison(answering(0, job.champion), answering(1, job.challenger))


def images(job: Job) -> Comparison:
    """Compares versions on pictures: a frame has the bytes of a file a part."""
    from ray_mlops.vision.predictor import ImagePredictor

    def answering(bundle: tuple[str, str]) -> Answering:
        predictor = ImagePredictor.load(Bundle.load(bundle[0], digest=bundle[1]))

        def answer(frame: Sequence[bytes]) -> Answers:
            shares = predictor.probabilities(np.stack([predictor.transform.read(part) for part in frame]))
            return Answers(shares.max(axis=1), shares.argmax(axis=1), np.zeros(len(shares), bool))

        predictor.probabilities(np.zeros((1, *predictor.transform.shape), np.uint8))
        return answer

    return Comparison(answering(job.champion), answering(job.challenger))


FAMILIES = {"transactions": transactions, "images": images}


def main(text: str) -> None:
    """Compare until the frames end."""
    processes.die_with_parent()
    come_last()
    # What a library prints must not come between the counts.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    job = Job.model_validate_json(text)
    try:
        comparison = FAMILIES[job.family](job)
    except Exception as error:  # noqa: BLE001 - whatever it is, the replica tells who watches
        out.write(orjson.dumps({"problem": f"{type(error).__name__}: {error}"}) + b"\n")
        return
    lock, ended = threading.Lock(), threading.Event()

    def report() -> None:
        with lock:
            tally = comparison.tally().model_dump()
        out.write(orjson.dumps({"tally": tally}) + b"\n")

    def reporting() -> None:
        while not ended.wait(_EVERY_S):
            report()

    report()
    threading.Thread(target=reporting, daemon=True).start()
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        with lock:
            comparison.add(frame)
    ended.set()


if __name__ == "__main__":
    main(sys.argv[1])
