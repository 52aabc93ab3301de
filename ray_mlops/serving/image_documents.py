"""What the OpenAPI document says of `POST /predict`, `POST /labels` and `GET /stats` of pictures."""

from collections.abc import Mapping
from typing import Any

from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.openapi import CAPTURE, REQUEST_ID, VARIANT, VERSION, record, responses

_BASE64 = {"type": "string", "contentEncoding": "base64", "description": "The bytes of an image file in base64"}
_BINARY = {"type": "string", "format": "binary"}
_REFUSALS = {
    400: "The body is not what its content type says",
    408: "The body did not arrive in time",
    413: "The body is too large, or has too many pictures",
    415: "The content type is none of those below",
    422: "No picture, a damaged one, one with too many pixels, or JSON of another shape; `problems` names each",
}


def predict(classes: tuple[str, ...], limits: ImageLimits, example: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of the route: summary, parameters, request body and responses."""
    chance = {"type": "number", "minimum": 0, "maximum": 1}
    named = {"class": {"enum": list(classes)}, "probability": chance}
    told = {**named, "top": {"type": "array", "items": record("Class", named, required=list(named))}}
    marked = {"enum": ["prior"], "description": "There was no time: how often each class came in training"}
    shown = {**told, "degraded": marked}
    one = record("Answer", {**shown, **VERSION}, required=[*told, *VERSION])
    listed = {"type": "array", "items": record("Result", shown, required=list(told))}
    many = record("Answers", {"results": listed, **VERSION}, required=["results", *VERSION])
    most = len(classes)
    count = {"type": "integer", "minimum": 1, "maximum": most, "default": min(limits.top, most)}
    return {
        "summary": "The likeliest classes of one picture or several",
        "tags": ["prediction"],
        "responses": responses("Answered", {"oneOf": [one, many]}, _REFUSALS),
        "openapi_extra": {
            "parameters": [
                {"name": "top", "in": "query", "description": "How many classes to give", "schema": count},
                REQUEST_ID,
                VARIANT,
            ],
            "requestBody": {"required": True, "content": _bodies(limits, example)},
        },
    }


def labels(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the route that takes labels."""
    told = {"recorded": {"type": "integer", "minimum": 1}, "request_id": {"type": "string"}}
    refusals = {
        **{status: _REFUSALS[status] for status in (400, 408, 413)},
        415: "The body is not declared as JSON",
        422: "A field is missing, unknown or no class of the model; `problems` names each",
    }
    return {
        "summary": "Bring the classes of pictures that became known: sent again they change nothing, another one corrects the first",
        "tags": ["prediction"],
        "responses": responses("Recorded", record("Recorded", told, required=list(told)), refusals),
        "openapi_extra": {
            "parameters": [REQUEST_ID],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        },
    }


def stats() -> dict[str, Any]:
    """Arguments of the route that tells what this replica has logged."""
    counted = record("Counted", {"capture": CAPTURE}, required=["capture"])
    return {
        "summary": "Lines of the capture log",
        "tags": ["endpoint"],
        "responses": responses("Counted since this replica started", counted, {}),
    }


def _bodies(limits: ImageLimits, example: Mapping[str, str]) -> dict[str, Any]:
    several = {"type": "array", "items": _BASE64, "minItems": 1, "maxItems": limits.max_images}
    shapes = [
        {"type": "object", "required": [name], "additionalProperties": False, "properties": {name: schema}}
        for name, schema in (("image", _BASE64), ("images", several))
    ]
    form = {"type": "object", "required": ["image"], "properties": {"image": _BINARY}}
    return {
        "application/octet-stream": {"schema": _BINARY},
        "image/*": {"schema": _BINARY},
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": {"oneOf": shapes}, "example": example},
    }
