"""The Open Inference Protocol, version 2, over HTTP: what Triton and KServe speak, with the binary tensor extension."""

from collections.abc import Mapping, Sequence
from importlib import metadata as installed
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from ray_mlops.serving import edge
from ray_mlops.serving.access import nesting
from ray_mlops.serving.edge import refused
from ray_mlops.serving.protocols import asked as seam
from ray_mlops.serving.protocols import tensors
from ray_mlops.serving.protocols.asked import Asked, Columns, Output
from ray_mlops.serving.protocols.open_inference_documents import Documents

PREFIX = "/v2"
SERVER, EXTENSIONS = "ray-mlops", ("binary_tensor_data",)
HEADER_LENGTH = "inference-header-content-length"


class Tensor(BaseModel):
    """An input: its values in `data`, or `binary_data_size` bytes behind the JSON."""

    model_config = ConfigDict(strict=True)
    name: str
    shape: list[int] = Field(max_length=8)
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class Wanted(BaseModel):
    """An output that the caller asks for."""

    model_config = ConfigDict(strict=True)
    name: str
    parameters: dict[str, Any] = {}


class Inference(BaseModel):
    """The JSON of a request; `parameters.binary_data_output` asks for bytes where an output does not say."""

    model_config = ConfigDict(strict=True)
    id: str = ""
    parameters: dict[str, Any] = {}
    inputs: list[Tensor] = Field(min_length=1)
    outputs: list[Wanted] = []


def add(app: FastAPI, asked: Asked) -> None:
    """Have an application answer clients of the protocol; `GET` tells, `POST .../infer` answers."""
    documents = Documents(asked)
    model, version = f"/v2/models/{asked.name}", asked.version["version"]
    told: dict[str, Any] = {
        "/v2": {"name": SERVER, "version": installed.version(SERVER), "extensions": EXTENSIONS},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
    }
    for path in (model, f"{model}/versions/{version}"):
        told |= {path: metadata(asked), f"{path}/ready": {"name": asked.name, "ready": True}}
    for path, content in told.items():
        app.get(path, **documents.tells())(_telling(content))

    async def infer(request: Request) -> Response:
        return await seam.shown(_infer(asked, request), refusal)

    for path in (f"{model}/infer", f"{model}/versions/{version}/infer"):
        app.post(path, **documents.infer())(infer)

    @app.api_route("/v2/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
    async def nothing(rest: str) -> Response:
        return refusal(404, f"/v2/{rest} is not here; this endpoint has the model {asked.name}, version {version}")


def metadata(asked: Asked) -> dict[str, Any]:
    """The model's inputs and outputs; -1 stands for the number of rows."""
    inputs = [{"name": name, "datatype": tensors.datatype(kind), "shape": [-1]} for name, kind in asked.columns.items()]
    outputs = [{"name": one.name, "datatype": one.datatype, "shape": _shape(one, -1)} for one in asked.outputs]
    versions = [asked.version["version"]]
    return {"name": asked.name, "versions": versions, "platform": SERVER, "inputs": inputs, "outputs": outputs}


def _chosen(asked: Asked, wanted: Sequence[Wanted]) -> list[Output]:
    """The outputs that are asked for, all of them when there is none; raises `BadRequest` 422 for one that is not."""
    known = {one.name: one for one in asked.outputs}
    for one in wanted:
        if one.name not in known:
            raise refused(422, f"is no output of {asked.name}; there are {', '.join(known)}", one.name)
        if other := one.parameters.keys() - {"binary_data"}:
            raise refused(422, f"is asked for with {min(other)}, which is no parameter of an output here", one.name)
    return [known[name] for name in dict.fromkeys([one.name for one in wanted] or known)]


def _shape(output: Output, count: int) -> list[int]:
    return [count] if output.width is None else [count, output.width]


def _telling(content: Mapping[str, Any]) -> Any:
    async def tell() -> Response:
        return edge.answer(200, content)

    return tell


async def _infer(asked: Asked, request: Request) -> Response:
    inference, binary = _read(await seam.body(asked, request), request.headers.get(HEADER_LENGTH))
    given, outputs = _given(inference, binary), _chosen(asked, inference.outputs)
    questions = asked.check(tensors.rows_of(given, asked))
    columns = await asked.tensors(questions, request_id=edge.request_id(request, inference.id))
    return _answer(asked, inference, outputs, columns)


def _given(inference: Inference, binary: bytes) -> dict[str, np.ndarray]:
    """The tensors of a request by name; what is not in the JSON comes one after the other in `binary`."""
    given, place = {}, 0
    for one in inference.inputs:
        if one.name in given:
            raise refused(422, "is there twice", one.name)
        size = one.parameters.get("binary_data_size")
        if size is None:
            given[one.name] = tensors.listed(one.name, one.datatype, one.shape, one.data or [])
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - place:
            raise refused(422, f"has binary_data_size {size!r}, but {len(binary) - place} bytes are left", one.name)
        given[one.name] = tensors.packed(one.name, one.datatype, one.shape, binary[place : place + size])
        place += size
    if place != len(binary):
        raise refused(422, f"{len(binary) - place} bytes are left that no input has in its binary_data_size")
    return given


def _read(body: bytes, length: str | None) -> tuple[Inference, bytes]:
    if length is not None and (not length.isdigit() or int(length) > len(body)):
        raise refused(400, f"is {length!r}; it counts the bytes of JSON before the binary data", HEADER_LENGTH)
    end = len(body) if length is None else int(length)
    nesting.check(body[:end])
    try:
        return Inference.model_validate_json(body[:end]), body[end:]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        status = 400 if first["type"] == "json_invalid" else 422
        raise refused(status, first["msg"], ".".join(map(str, first["loc"]))) from None


def _answer(asked: Asked, inference: Inference, outputs: Sequence[Output], columns: Columns) -> Response:
    whole = inference.parameters.get("binary_data_output", False)
    as_bytes = {one.name: one.parameters.get("binary_data", whole) for one in inference.outputs}
    told, parts = [], []
    for output in outputs:
        values = columns.values[output.name]
        one = {"name": output.name, "datatype": output.datatype, "shape": _shape(output, len(values))}
        if as_bytes.get(output.name, whole):
            parts.append(tensors.bytes_of(output, values))
            told.append({**one, "parameters": {"binary_data_size": len(parts[-1])}})
        else:
            told.append({**one, "data": values.ravel().tolist()})
    named = {"id": inference.id} if inference.id else {}
    marked = {"parameters": {"degraded": columns.degraded}} if columns.degraded else {}
    content = {"model_name": asked.name, "model_version": asked.version["version"], **named, **marked, "outputs": told}
    if not parts:
        return edge.answer(200, content)
    header = orjson.dumps(content)
    lengths = {HEADER_LENGTH: str(len(header))}
    return Response(header + b"".join(parts), media_type="application/octet-stream", headers=lengths)


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error of the protocol."""
    return edge.answer(status, {"error": message}, headers or ({"retry-after": "1"} if status == 503 else None))
