"""What the OpenAPI document says of `/ping`, `/invocations` and SageMaker's runtime."""

import io
import json
from dataclasses import dataclass
from typing import Any

from ray_mlops.serving.openapi import REQUEST_ID, content, record, responses
from ray_mlops.serving.protocols import rows
from ray_mlops.serving.protocols.asked import Asked

_REFUSALS = {
    400: "The body is not what its content type says",
    406: "No type that the accept header names",
    408: "The body did not arrive in time",
    413: "The body or the batch is too large",
    415: "The content type is none of those below",
    422: "A field is missing, unknown, of the wrong type or out of range; `problems` names each",
    503: "Overloaded: try again",
}
_MESSAGE = {"Message": {"type": "string"}}
_ORIGINAL = {"OriginalStatusCode": {"type": "integer"}, "OriginalMessage": {"type": "string"}}
_ACCEPT = "application/json, application/jsonlines, text/csv or application/x-npy"


@dataclass(frozen=True)
class Documents:
    """The documents of one application."""

    asked: Asked

    def ping(self) -> dict[str, Any]:
        """Arguments of `GET /ping`."""
        return {"summary": "Is it answering (SageMaker, MLflow)", "tags": ["SageMaker and MLflow"]}

    def invocations(self) -> dict[str, Any]:
        """Arguments of `POST /invocations`."""
        return self._route("Answer SageMaker's container contract and MLflow's scoring protocol", REQUEST_ID)

    def runtime(self) -> dict[str, Any]:
        """Arguments of SageMaker's `InvokeEndpoint`."""
        identity = {"name": "x-amzn-sagemaker-inference-id", "in": "header", "schema": {"type": "string"}}
        route = self._route("Answer `invoke_endpoint` of boto3's client `sagemaker-runtime`", identity)
        told = {
            400: ("`ValidationError`: too large, or another endpoint, variant or model", _MESSAGE),
            424: ("`ModelError`: the body cannot be answered", {**_MESSAGE, **_ORIGINAL}),
            503: ("`ServiceUnavailable`: try again", _MESSAGE),
        }
        refused = {
            status: {"description": text, "content": content(record("Error", fields, required=["Message"]))}
            for status, (text, fields) in told.items()
        }
        return {**route, "responses": {200: route["responses"][200], **refused}}

    def _route(self, summary: str, parameter: dict[str, Any]) -> dict[str, Any]:
        described = responses("Answered", {"type": "object"}, _REFUSALS)
        text = {"schema": {"type": "string"}}
        described[200]["content"] |= {"application/jsonlines": text, "text/csv": text, "application/x-npy": text}
        return {
            "summary": summary,
            "description": f"A CSV line without a header brings {', '.join(self.asked.columns)}. The accept header may "
            f"ask for {_ACCEPT}; a line of CSV answers {', '.join(self._single)}.",
            "tags": ["SageMaker and MLflow"],
            "responses": described,
            "openapi_extra": {"parameters": [parameter], "requestBody": {"required": True, "content": self._bodies()}},
        }

    @property
    def _single(self) -> list[str]:
        return [one.name for one in self.asked.outputs if one.width is None]

    def _bodies(self) -> dict[str, Any]:
        row = {"type": "object", "properties": {name: {} for name in self.asked.columns}}
        listed = {"type": "array", "items": row, "minItems": 1}
        split = record("Split", {name: {"type": "array"} for name in ("columns", "data")}, required=["columns", "data"])
        shapes = {**dict.fromkeys(rows.MLFLOW, listed), "dataframe_split": split}
        mlflow = [record(name, {name: shape}, required=[name]) for name, shape in shapes.items()]
        text, binary = {"type": "string"}, {"schema": {"type": "string", "format": "binary"}}
        example, lines = dict(self.asked.example), io.StringIO()
        rows.write_csv(lines, [[*example], [*example.values()]])
        shown = {"row": {"value": example}, **{name: {"value": {name: [example]}} for name in rows.MLFLOW[1:3]}}
        return {
            "application/json": {"schema": {"anyOf": [row, *mlflow]}, "examples": shown},
            "application/jsonlines": {"schema": text, "example": json.dumps(example)},
            "text/csv": {"schema": text, "example": lines.getvalue()},
            "application/x-npy": binary,
        }
