"""SageMaker's runtime, as boto3's `invoke_endpoint` speaks it, and the contract of its containers; with MLflow's scoring.

`/ping` and `/invocations` are what both SageMaker and MLflow ask of a server: the content of the body tells them apart.
"""

import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI, Request
from starlette.responses import Response

from ray_mlops.serving import edge
from ray_mlops.serving.access import nesting
from ray_mlops.serving.edge import refused
from ray_mlops.serving.protocols import asked as seam
from ray_mlops.serving.protocols import invocation_documents, rows
from ray_mlops.serving.protocols.asked import Asked, Columns
from ray_mlops.serving.rollouts import choice

PREFIX = "/endpoints/"
DEGRADED = "x-degraded"
_HEADER = "x-amzn-sagemaker-"
_ONE_MODEL = ("target-model", "target-container-hostname", "inference-component")
_INFERENCE_ID = re.compile(r"[\x21-\x7e]{1,64}")
_READERS = {
    "text/csv": rows.from_csv,
    "application/jsonlines": rows.from_json_lines,
    "application/x-npy": rows.from_npy,
}
_CODES = {
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    429: "ThrottlingException",
    503: "ServiceUnavailable",
}
_JSON, _LINES, _CSV, _NPY = "application/json", "application/jsonlines", "text/csv", "application/x-npy"


def add(app: FastAPI, asked: Asked) -> None:
    """Have an application answer clients of SageMaker endpoints, SageMaker itself, and clients of MLflow's server."""
    name, documents = asked.name, invocation_documents.Documents(asked)

    @app.get("/ping", **documents.ping())
    async def get_ping() -> Response:
        return edge.answer(200, {"status": "ok"})

    @app.post("/invocations", **documents.invocations())
    async def post_invocations(request: Request) -> Response:
        return await _invoke(asked, request, edge.request_id(request))

    @app.post(f"/endpoints/{name}/invocations", **documents.runtime())
    async def post_runtime(request: Request) -> Response:
        return await seam.shown(_invoke_endpoint(asked, request), refusal)

    @app.post("/endpoints/{other}/invocations", include_in_schema=False)
    async def post_other(other: str) -> Response:
        return refusal(404, f"Endpoint {other} is not here; this URL is that of {name}")


async def _invoke_endpoint(asked: Asked, request: Request) -> Response:
    headers = request.headers
    for header in _ONE_MODEL:
        if f"{_HEADER}{header}" in headers:
            raise refused(404, f"{asked.name} serves one model; call it without", header)
    given = headers.get(f"{_HEADER}inference-id")
    if given is not None and not _INFERENCE_ID.fullmatch(given):
        raise refused(404, "should be 1 to 64 visible characters", "InferenceId")
    response = await _invoke(asked, request, given or edge.request_id(request))
    answered = choice.served()
    response.headers["x-amzn-invoked-production-variant"] = answered.variant if answered else choice.ALL
    if (attributes := headers.get(f"{_HEADER}custom-attributes")) is not None:
        response.headers[f"{_HEADER}custom-attributes"] = attributes
    return response


async def _invoke(asked: Asked, request: Request, request_id: str) -> Response:
    headers, body = request.headers, await seam.body(asked, request)
    return await invoked(asked, body, headers.get("content-type"), accept=headers.get("accept"), request_id=request_id)


async def invoked(asked: Asked, body: bytes, kind: str | None, *, accept: str | None, request_id: str) -> Response:
    """The answer to a body of type `kind` in a form that `accept` allows; raises `BadRequest`."""
    accepted = _accepted(accept)
    bare = (kind or "").partition(";")[0].strip().lower()
    if bare in _READERS:
        questions, batch = asked.check(_READERS[bare](body, asked.columns)), True
    elif bare == _JSON and (given := _mlflow(body)):
        columns = await asked.tensors(asked.check(rows.from_mlflow(given, asked.columns)), request_id=request_id)
        marked = {"degraded": columns.degraded} if columns.degraded else {}
        return edge.answer(200, {"predictions": [{**one, **marked} for one in records(columns.values)]})
    else:
        # SageMaker's image algorithms are sent `application/x-image`, which says no more than that it is one.
        questions, batch = await asked.read(body, "image/*" if bare == "application/x-image" else kind)
    if accepted in (_CSV, _NPY):
        return _table(await asked.tensors(questions, request_id=request_id), asked, accepted)
    answers = await asked.answer(questions, request_id=request_id)
    if accepted == _LINES:
        return Response(b"".join(orjson.dumps(one) + b"\n" for one in answers), media_type=_LINES)
    content = {"results": answers} if batch else answers[0]
    return edge.answer(200, {**content, **asked.version, "request_id": request_id})


def _accepted(accept: str | None) -> str:
    """The first type of an Accept header that is spoken here; raises `BadRequest` 406 when there is none."""
    spoken = {
        "*/*": _JSON,
        "application/*": _JSON,
        "text/*": _CSV,
        **{kind: kind for kind in (_JSON, _LINES, _CSV, _NPY)},
    }
    for part in (accept or "*/*").split(","):
        if (kind := part.partition(";")[0].strip().lower()) in spoken:
            return spoken[kind]
    raise refused(406, f"is {accept!r}; answers come as {_JSON}, {_LINES}, {_CSV} or {_NPY}", "accept")


def _mlflow(body: bytes) -> Mapping[str, Any] | None:
    nesting.check(body)
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None  # the application's own reader says what is wrong
    return given if isinstance(given, dict) and any(name in given for name in rows.MLFLOW) else None


def records(columns: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """A mapping a row."""
    listed = [values.tolist() for values in columns.values()]
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*listed, strict=True)]


def _table(columns: Columns, asked: Asked, kind: str) -> Response:
    """CSV: a line an answer, its single values in the order of `outputs`. NPY: those of the answers that are numbers.

    Neither has room for a mark, so degraded answers have it in a header.
    """
    values, marked = columns.values, {DEGRADED: columns.degraded} if columns.degraded else {}
    if kind == _NPY:
        numbers = [values[one.name].reshape(-1, one.width or 1) for one in asked.outputs if one.datatype == "FP64"]
        stream = io.BytesIO()
        np.save(stream, np.concatenate(numbers, axis=1), allow_pickle=False)
        return Response(stream.getvalue(), media_type=_NPY, headers=marked)
    lines = io.StringIO()
    single = [values[one.name].tolist() for one in asked.outputs if one.width is None]
    rows.write_csv(lines, zip(*single, strict=True))
    return Response(lines.getvalue(), headers={"content-type": _CSV, **marked})


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error that boto3 raises: `ValidationError` for what SageMaker itself would refuse, `ModelError` else."""
    if status in (404, 413):
        return _error(400, "ValidationError", {"Message": message})
    if code := _CODES.get(status):
        return _error(status, code, {"Message": message}, headers)
    told = f"Received client error ({status}) from primary with message {message!r}"
    original = {"OriginalStatusCode": status, "OriginalMessage": message, "LogStreamArn": ""}
    return _error(424, "ModelError", {"Message": told, **original})


def _error(status: int, code: str, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    again = {"retry-after": "1"} if status == 503 else {}
    return edge.answer(status, content, {"x-amzn-errortype": code, **again, **(headers or {})})
