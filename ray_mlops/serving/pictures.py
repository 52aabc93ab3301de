"""Pictures as every protocol asks for them: the readers of files, and the model that names their class."""

import asyncio
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from PIL import Image

from ray_mlops.serving import edge, uploads
from ray_mlops.serving.deadline import Turn, in_time
from ray_mlops.serving.image_answers import Answerer
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.protocols.asked import Columns, Output
from ray_mlops.serving.rollouts.images import PictureSwitch


@dataclass(frozen=True)
class Pictures:
    """`protocols.asked.Asked` for images; a row is `{"image": ...}`, with the bytes of a file, base64 or pixels."""

    name: str
    answerer: Answerer
    limits: ImageLimits
    example: Mapping[str, str]
    rollout: PictureSwitch

    @property
    def classes(self) -> tuple[str, ...]:
        return self.answerer.predictor.classes

    @property
    def version(self) -> Mapping[str, str]:
        return {"model": self.name, **self.rollout.switch.told()}

    @property
    def columns(self) -> Mapping[str, Literal["image"]]:
        return {uploads.ONE: "image"}

    @property
    def outputs(self) -> Sequence[Output]:
        """`probabilities` are those of all classes, in the order of `GET /model`."""
        single = (Output("class", "BYTES"), Output("probability", "FP64"))
        return (*single, Output("probabilities", "FP64", len(self.classes)))

    async def read(self, body: bytes, content_type: str | None) -> tuple[dict[str, bytes], bool]:
        files = await uploads.pictures(body, content_type, most=self.limits.max_images)
        return files, uploads.ONE not in files

    def check(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
        if len(rows) > self.limits.max_images:
            raise edge.refused(413, f"has {len(rows)} pictures; at most {self.limits.max_images} are taken at once")
        for place, row in enumerate(rows):
            if row.keys() != {uploads.ONE}:
                raise edge.refused(422, f"should have the field {uploads.ONE!r} and no other", f"rows.{place}")
        return {f"rows.{place}": _file(row[uploads.ONE], f"rows.{place}") for place, row in enumerate(rows)}

    async def answer(
        self, questions: Mapping[str, bytes], *, request_id: str, detail: int | None = None
    ) -> list[dict[str, Any]]:
        top = min(self.limits.top, len(self.classes)) if detail is None else detail
        turn, answerer = Turn(), self.answerer
        by = answerer if self.rollout.switch.idle else self.rollout
        work = asyncio.ensure_future(by.answer(questions, top=top, request_id=request_id, turn=turn))
        degraded = partial(answerer.degraded, questions, top=top, request_id=request_id)
        return await in_time(work, degraded if answerer.prior is not None else None, turn, self.limits.deadline_s)

    async def tensors(self, questions: Mapping[str, bytes], *, request_id: str) -> Columns:
        answers = await self.answer(questions, request_id=request_id, detail=len(self.classes))
        found = [{one["class"]: one["probability"] for one in answer["top"]} for answer in answers]
        values = {
            "class": np.array([answer["class"] for answer in answers]),
            "probability": np.array([answer["probability"] for answer in answers]),
            "probabilities": np.array([[one[name] for name in self.classes] for one in found]),
        }
        return Columns.of(values, answers)


def _file(value: Any, field: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, np.ndarray):
        return uploads.decoded(value, field)
    # Without compression, which would cost more than the model: the pixels only take the way of every other picture.
    stream = io.BytesIO()
    try:
        Image.fromarray(value if value.shape[2] == 3 else value[:, :, 0]).save(stream, "PNG", compress_level=0)
    except (ValueError, SystemError) as error:
        raise edge.refused(422, f"is no picture: {error}", field) from None
    return stream.getvalue()
