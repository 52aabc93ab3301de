"""What the OpenAPI document says of the routes: written from the bundle's own schema and example."""

from collections.abc import Mapping
from typing import Any

from ray_mlops.online.contract import Stats
from ray_mlops.serving.openapi import CAPTURE, REQUEST_ID, VARIANT, VERSION, record, responses

_REASON = {
    "type": "object",
    "properties": {
        "feature": {"type": "string"},
        "value": {"type": ["number", "null"]},
        "contribution": {"type": "number", "description": "What the feature added to the score (log-odds)"},
        "text": {"type": "string"},
    },
}
_ANSWER = {
    "id": {"description": "The key of the transaction"},
    "score": {"type": "number", "minimum": 0, "maximum": 1},
    "probability": {"type": "number", "minimum": 0, "maximum": 1, "description": "The calibrated score"},
    "decision": {"enum": ["approve", "review", "block"]},
    "reasons": {"type": "array", "items": _REASON, "description": "Strongest first"},
    "degraded": {"enum": ["rule", "score"], "description": "There was no time for the model: what answered instead"},
}
_RECORDED = {
    "recorded": {"type": "integer", "minimum": 1},
    "waiting": {"type": "array", "items": {}, "description": "Ids whose transaction was not (or is no longer) known"},
    "request_id": {"type": "string"},
}
_REFUSALS = {
    400: "The body is not JSON",
    408: "The body did not arrive in time",
    413: "The body or the batch is too large",
    415: "The body is not declared as JSON",
    422: "A field is missing, unknown, of the wrong type or out of range; `problems` names each",
    503: "Overloaded, or the entity store does not answer: try again",
}


def score(model: Mapping[str, Any], reasons: int, most_reasons: int) -> dict[str, Any]:
    """Arguments of the route: summary, parameters, request body and responses."""
    always = [name for name in _ANSWER if name not in ("reasons", "degraded")]
    one = record("Answer", {**_ANSWER, **VERSION}, required=[*always, *VERSION])
    listed = {"type": "array", "items": record("Result", _ANSWER, required=always)}
    many = record("Answers", {"results": listed, **VERSION}, required=["results", *VERSION])
    count = {"type": "integer", "minimum": 0, "maximum": most_reasons, "default": reasons}
    return {
        "summary": "Score one transaction or a batch",
        "tags": ["scoring"],
        "responses": responses("Scored", {"oneOf": [one, many]}, _REFUSALS),
        "openapi_extra": {
            "parameters": [
                {"name": "reasons", "in": "query", "description": "How many reasons to give", "schema": count},
                REQUEST_ID,
                VARIANT,
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": model["schema"],
                        "examples": {
                            "one": {"summary": "One transaction", "value": model["example"]},
                            "batch": {"summary": "A batch", "value": {"transactions": [model["example"]]}},
                        },
                    }
                },
            },
        },
    }


def labels(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the route that takes labels."""
    return {
        "summary": "Bring labels that became known: sent again they change nothing, another value corrects the first",
        "tags": ["scoring"],
        "responses": responses("Recorded", record("Recorded", _RECORDED, required=list(_RECORDED)), _REFUSALS),
        "openapi_extra": {
            "parameters": [REQUEST_ID],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        },
    }


def stats() -> dict[str, Any]:
    """Arguments of the route that tells what the entity store has seen and holds."""
    return {
        "summary": "Events, retries, late ones, labels; entities and bytes of state",
        "tags": ["endpoint"],
        "responses": responses("Counted since the store was made", _counted(), {503: _REFUSALS[503]}),
    }


def _counted() -> dict[str, Any]:
    schema = Stats.model_json_schema()
    return {**schema, "properties": {**schema["properties"], "capture": CAPTURE}}
