"""What the OpenAPI document says of the Open Inference Protocol's routes."""

from dataclasses import dataclass
from typing import Any

from ray_mlops.serving.openapi import REQUEST_ID, content, record
from ray_mlops.serving.protocols import tensors
from ray_mlops.serving.protocols.asked import Asked

_TAGS = ["Open Inference Protocol v2"]
_TENSOR = record(
    "Tensor",
    {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string"},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
    required=["name", "shape", "datatype"],
)
_REFUSALS = {
    400: "The body is not JSON, or not as long as its header says",
    408: "The body did not arrive in time",
    413: "The body or the batch is too large",
    415: "The body is compressed",
    422: "A tensor is missing, unknown, of the wrong type or out of range",
    503: "Overloaded: try again",
}


@dataclass(frozen=True)
class Documents:
    """The documents of one application."""

    asked: Asked

    def tells(self) -> dict[str, Any]:
        """Arguments of a route that takes nothing."""
        return {"summary": "Health and metadata of the server and of the model", "tags": _TAGS}

    def infer(self) -> dict[str, Any]:
        """Arguments of a route that answers: the columns are tensors of one row or more."""
        names = {"model_name": {"type": "string"}, "model_version": {"type": "string"}, "id": {"type": "string"}}
        listed = {"type": "array", "items": _TENSOR}
        told = content(record("Inferred", {**names, "outputs": listed}, required=["model_name", "outputs"]))
        binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        error = content(record("Error", {"error": {"type": "string"}}, required=["error"]))
        refused = {status: {"description": text, "content": error} for status, text in _REFUSALS.items()}
        asks = record("Inference", {"id": {"type": "string"}, "inputs": listed}, required=["inputs"])
        return {
            "summary": f"Inputs {', '.join(self.asked.columns)}, each a tensor with a value a row",
            "tags": _TAGS,
            "responses": {200: {"description": "Answered", "content": {**told, **binary}}, **refused},
            "openapi_extra": {
                "parameters": [REQUEST_ID],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": asks, "example": {"inputs": self._example()}}},
                },
            },
        }

    def _example(self) -> list[dict[str, Any]]:
        known = {name: self.asked.columns[name] for name in self.asked.example}
        return [
            {"name": name, "datatype": tensors.datatype(kind), "shape": [1], "data": [self.asked.example[name]]}
            for name, kind in known.items()
        ]
