"""What can be read off the logged answers of an endpoint for images, once labels have come for them: how good they were."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from ray_mlops.monitoring import labelled, picture_quality
from ray_mlops.monitoring.labelled import Classified
from ray_mlops.monitoring.picture_quality import Tested
from ray_mlops.monitoring.readings import Reading
from ray_mlops.platform.bundle import Bundle

CLASSES = "classes.json"  # what tells the bundle of a classifier of images


class PictureAnswers:
    """As `answers.Answers`, of pictures: the log in `capture`, read at most once, beside what the bundle says of the test."""

    def __init__(self, bundle: Bundle, capture: str, *, loss: float) -> None:
        self._bundle, self._capture, self._loss = bundle, capture, loss

    def __call__(self, start: int, end: int) -> Iterator[Reading]:
        """The reading of model quality in `[start, end)`, seconds since the epoch."""
        if self.tested is not None:
            yield from picture_quality.compare(self._classified, self.tested, start=start, end=end, limit=self._loss)

    def quality(self, now: float) -> list[dict[str, Any]]:
        """The quality of answers by the age of their labels; nothing where there are no labels."""
        known = self._classified
        return picture_quality.by_maturity(known, self._bundle.json(CLASSES), now) if len(known.label) else []

    @cached_property
    def tested(self) -> Tested | None:
        """What the evaluation found; None where the bundle does not say."""
        rows = self._bundle.json("lineage.json").get("labelled", {}).get("test", {})
        return Tested(self._bundle.json("evaluation.json"), sum(rows.values())) if rows else None

    @cached_property
    def _classified(self) -> Classified:
        return labelled.classified(self._capture, self._bundle.digest)
