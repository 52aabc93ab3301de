"""Messages of the Open Inference Protocol over gRPC: to a request over HTTP with the tensors as bytes, and its answer back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from tritonclient.grpc import service_pb2

from ray_mlops.serving.edge import refused
from ray_mlops.serving.protocols import tensors

pb: Any = service_pb2  # its messages are made at import, where no type checker sees them
_FIELDS = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def packed(request: Any) -> tuple[bytes, int]:
    """The body of a `ModelInferRequest` over HTTP, and how many of its bytes are JSON; raises `BadRequest` for what is none."""
    raw = request.raw_input_contents
    if raw and (len(raw) != len(request.inputs) or any(one.HasField("contents") for one in request.inputs)):
        raise refused(
            422, f"has {len(raw)} of {len(request.inputs)} inputs; send all of them in it", "raw_input_contents"
        )
    parts = list(raw) or [_bytes(one) for one in request.inputs]
    head = {
        "id": request.id,
        "parameters": {**_parameters(request.parameters), "binary_data_output": True},
        "inputs": [
            {
                "name": one.name,
                "datatype": one.datatype,
                "shape": list(one.shape),
                "parameters": {**_parameters(one.parameters), "binary_data_size": len(part)},
            }
            for one, part in zip(request.inputs, parts, strict=True)
        ],
        "outputs": [{"name": one.name, "parameters": _parameters(one.parameters)} for one in request.outputs],
    }
    content = orjson.dumps(head)
    return b"".join([content, *parts]), len(content)


def answer(body: bytes, length: int) -> Any:
    """The `ModelInferResponse` of an answer over HTTP, whose first `length` bytes are JSON."""
    told, place = orjson.loads(body[:length]), length
    names = {"model_name": told["model_name"], "model_version": told["model_version"], "id": told.get("id", "")}
    message = pb.ModelInferResponse(**names)
    for name, value in told.get("parameters", {}).items():
        message.parameters[name].string_param = value
    for one in told["outputs"]:
        message.outputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
        size = one["parameters"]["binary_data_size"]
        message.raw_output_contents.append(body[place : place + size])
        place += size
    return message


def described(told: Mapping[str, Any]) -> Any:
    """The `ModelMetadataResponse` of a model's metadata."""
    message = pb.ModelMetadataResponse(name=told["name"], versions=told["versions"], platform=told["platform"])
    for listed, sides in ((message.inputs, told["inputs"]), (message.outputs, told["outputs"])):
        for one in sides:
            listed.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
    return message


def _bytes(tensor: Any) -> bytes:
    if (field := _FIELDS.get(tensor.datatype)) is None:
        return b""  # whoever knows the datatypes says what is wrong with this one
    values = getattr(tensor.contents, field)
    if tensor.datatype == "BYTES":
        return tensors.framed(values)
    try:
        return np.array(list(values), np.dtype(tensors.NUMBERS[tensor.datatype])).tobytes()
    except OverflowError as error:
        raise refused(422, f"should hold values of {tensor.datatype}: {error}", tensor.name) from None


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in given.items()}
    return {name: getattr(given[name], choice) for name, choice in chosen.items() if choice}
