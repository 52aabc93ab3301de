"""`POST /labels` of an endpoint for images: which class a picture shows, told later, by the request it came with."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired

from fastapi import FastAPI, Request
from pydantic import Field
from starlette.responses import Response

from ray_mlops.contract import LABEL_LINE
from ray_mlops.serving import edge, image_documents, protocols
from ray_mlops.serving.access import nesting
from ray_mlops.serving.image_answers import picture_id
from ray_mlops.serving.pictures import Pictures
from ray_mlops.serving.schema import LABELS, RequestSchema

_MOST = 10_000


def schema(classes: tuple[str, ...]) -> RequestSchema:
    """What is taken: the id of a request, the place of the picture where it had several, and its class; or many of them."""
    fields = {
        "request_id": Annotated[str, Field(pattern="^[!-~]{1,128}$", description="As the answer tells it")],
        "class": Literal[classes],  # pyright: ignore[reportInvalidTypeForm]
        "picture": NotRequired[
            Annotated[int, Field(ge=0, le=1_000_000, description="Its place in the request, from 0")]
        ],
    }
    return RequestSchema("label", LABELS, fields, most=_MOST)


def add(app: FastAPI, asked: Pictures) -> None:
    """Have an application take labels into the capture log; whether there is an answer to each is for monitoring to find."""
    taken = schema(asked.classes)

    @app.post("/labels", **image_documents.labels(taken.json_schema()))
    async def post_labels(request: Request) -> Response:
        request_id = edge.request_id(request)
        body = await protocols.body(asked, request)
        labels, _ = taken.read(nesting.checked(body, request.headers.get("content-type")))
        asked.answerer.capture.write(_lines(labels, {"request_id": request_id, **asked.answerer.pinned.named}))
        return edge.answer(200, {"recorded": len(labels), "request_id": request_id})


def _lines(labels: Sequence[Mapping[str, Any]], same: Mapping[str, str]) -> list[dict[str, Any]]:
    line = {"kind": LABEL_LINE, "time": datetime.now(UTC), **same}
    return [
        {**line, "id": picture_id(label["request_id"], label.get("picture", 0)), "label": label["class"]}
        for label in labels
    ]
