"""What the OpenAPI documents of all endpoints have alike: refusals, the version that answered, request ids."""

from collections.abc import Mapping, Sequence
from typing import Any

VERSION = {name: {"type": "string"} for name in ("model", "variant", "version", "digest", "request_id")}
REQUEST_ID = {"name": "x-request-id", "in": "header", "description": "Comes back", "schema": {"type": "string"}}
VARIANT = {
    "name": "x-target-variant",
    "in": "header",
    "description": "During a rollout: which version is to answer; by default the weights decide",
    "schema": {"enum": ["AllTraffic", "champion", "challenger"]},
}
CAPTURE = {
    "type": "object",
    "description": "Lines of this replica's capture log since it started",
    "properties": {name: {"type": "integer", "minimum": 0} for name in ("written", "dropped", "skipped", "late")},
}
_ACCESS = {
    404: "No variant of that name",
    401: "Keys are asked for, and no valid one was sent",
    403: "The key has another scope",
    429: "More requests than the key may send; `retry-after` says when to come back",
    500: "The endpoint failed; its log says why under the request id",
    503: "Overloaded: try again",
}
_PROBLEM = {"type": "object", "properties": {"field": {"type": "string"}, "message": {"type": "string"}}}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"message": {"type": "string"}, "problems": {"type": "array", "items": _PROBLEM}},
        }
    },
}


def responses(description: str, schema: Mapping[str, Any], refusals: Mapping[int, str]) -> dict[int, Any]:
    """The responses of a route: 200 with its schema, and the refusals by status."""
    refused = {
        status: {"description": text, "content": content(_ERROR)} for status, text in {**_ACCESS, **refusals}.items()
    }
    return {200: {"description": description, "content": content(schema)}, **refused}


def record(title: str, properties: Mapping[str, Any], *, required: Sequence[str]) -> dict[str, Any]:
    """A JSON object."""
    return {"type": "object", "title": title, "properties": dict(properties), "required": list(required)}


def content(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A body in JSON."""
    return {"application/json": {"schema": schema}}
