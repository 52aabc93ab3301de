"""What the OpenAPI document says of asynchronous inference."""

from typing import Any

from ray_mlops.contract.names import REQUEST
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.openapi import content, record, responses

_TAG = "asynchronous"
_STATE = {
    "id": {"type": "string"},
    "state": {"enum": ["pending", "running", "done", "failed"]},
    "attempts": {"type": "integer", "minimum": 0},
    "reason": {"type": "string", "description": "Why it failed, or why the attempt before did"},
    "result": {"type": "string", "description": "Where the answer is, or will be"},
}
_STATED = record("State", _STATE, required=list(_STATE))
_ACCEPTED = {"description": "Not done yet: where it is on its way", "content": content(_STATED)}
_NAME = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_ANY = {"schema": {}}
_NOT_HERE = {404: "No request of this id was sent with this key, or it is too old"}
_MESSAGE = record("Error", {"Message": {"type": "string"}}, required=["Message"])


def submit(limits: Asynchronous) -> dict[str, Any]:
    """Arguments of `POST /async`."""
    refusals = {
        400: "The body ended early",
        408: "The body did not arrive in time",
        409: "The id is that of a different request",
        413: f"The body is larger than {limits.max_body_bytes:,} bytes",
        415: "The body is encoded",
        422: "The id is none",
    }
    described = responses("", {}, refusals)
    del described[200]
    key = {"name": "idempotency-key", "in": "header", "schema": {"type": "string", "pattern": REQUEST.pattern}}
    described_key = {**key, "description": "The id of the request: sent again with the same id it is the same request"}
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "status_code": 202,
        "summary": "Ask now, have the answer later: any body that `POST /invocations` takes",
        "tags": [_TAG],
        "responses": {202: {**_ACCEPTED, "description": "Taken in"}, **described},
        "openapi_extra": {
            "parameters": [described_key],
            "requestBody": {"required": True, "content": dict.fromkeys(("application/json", "text/csv"), binary)},
        },
    }


def state() -> dict[str, Any]:
    """Arguments of `GET /async/{id}`."""
    return {
        "summary": "Where a request is on its way",
        "tags": [_TAG],
        "responses": responses("Its state", _STATED, _NOT_HERE),
        "openapi_extra": {"parameters": [_NAME]},
    }


def result() -> dict[str, Any]:
    """Arguments of `GET /async/{id}/result`."""
    described = responses("The answer, in the form that was asked for", {}, {**_NOT_HERE, 424: "It has failed"})
    described[200]["content"] |= dict.fromkeys(("application/jsonlines", "text/csv", "application/x-npy"), _ANY)
    return {
        "summary": "The answer to a request",
        "tags": [_TAG],
        "responses": {**described, 202: _ACCEPTED},
        "openapi_extra": {"parameters": [_NAME]},
    }


def runtime() -> dict[str, Any]:
    """Arguments of SageMaker's `InvokeEndpointAsync`."""
    place = {"name": "x-amzn-sagemaker-inputlocation", "in": "header", "schema": {"type": "string"}}
    told = {
        400: "`ValidationError`: an input that may not be read, another endpoint, or the id of a different request",
        401: "`AccessDeniedException`",
        403: "`AccessDeniedException`",
        429: "`ThrottlingException`",
        503: "`ServiceUnavailable`: try again",
    }
    taken = record("Taken", {"InferenceId": {"type": "string"}}, required=["InferenceId"])
    refused = {status: {"description": text, "content": content(_MESSAGE)} for status, text in told.items()}
    return {
        "status_code": 202,
        "summary": "Answer `invoke_endpoint_async` of boto3's client `sagemaker-runtime`",
        "tags": ["SageMaker and MLflow"],
        "responses": {202: {"description": "Taken in", "content": content(taken)}, **refused},
        "openapi_extra": {"parameters": [place]},
    }
