"""The Open Inference Protocol over gRPC: a door that asks the endpoints of a server over HTTP, in the same protocol.

The name of the model is the name of the endpoint. All that an endpoint holds to over HTTP holds here, for the same code
answers: keys, limits, deadlines, the log. The door has no model, no queue and no state.

Ray Serve has a gRPC proxy of its own. It is not used because it listens on all addresses of the machine, whatever the host
of the HTTP proxy, speaks no TLS, takes messages of 2 GB before anybody looks for a key, and finds an application by a metadata
key that no client of this protocol sends.
"""

from collections.abc import Mapping
from importlib import metadata as installed
from pathlib import Path
from typing import Any, NoReturn

import grpc
import httpx
from tritonclient.grpc import service_pb2_grpc as service

from ray_mlops.contract.names import ENDPOINT
from ray_mlops.errors import EndpointError
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.protocols import grpc_messages, open_inference
from ray_mlops.serving.protocols.grpc_messages import pb
from ray_mlops.serving.rollouts import choice
from ray_mlops.serving.schema import BadRequest

MOST_BYTES = 32_000_000  # more than the largest body of any endpoint, which says itself what is too large for it
MOST_AT_ONCE = 256
_LONGEST_S = 60.0
_LONGEST_MESSAGE = 2000  # a status travels in a header
_HANDED_ON = frozenset({"authorization", "x-api-key", "x-request-id", "traceparent", "tracestate", *choice.HEADERS})
_HANDED_BACK = ("x-request-id", "retry-after", choice.SERVED, choice.VERSION)
_LENGTH = open_inference.HEADER_LENGTH
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


class Door(service.GRPCInferenceServiceServicer):
    """Answers the calls of the protocol; all others are `UNIMPLEMENTED`. `url` is where the endpoints answer over HTTP."""

    def __init__(self, url: str) -> None:
        # The endpoints are on this very machine, by an address that no certificate need name.
        limits = httpx.Limits(max_connections=MOST_AT_ONCE, max_keepalive_connections=MOST_AT_ONCE)
        self._client = httpx.AsyncClient(base_url=url, verify=False, trust_env=False, limits=limits)

    async def close(self) -> None:
        """Close the connections to the endpoints."""
        await self._client.aclose()

    async def ServerLive(self, request: Any, context: Any) -> Any:
        """That the door is open."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        """Whether the server behind the door is ready."""
        try:
            found = await self._client.get("/-/healthz")
        except httpx.TransportError:
            return pb.ServerReadyResponse(ready=False)
        return pb.ServerReadyResponse(ready=found.status_code == 200)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        """What server this is."""
        name = open_inference.SERVER
        return pb.ServerMetadataResponse(name=name, version=installed.version(name))

    async def ModelReady(self, request: Any, context: Any) -> Any:
        """Whether the endpoint is there and serves the version."""
        found = await self._asked(context, f"{_path(request.name, request.version)}/ready")
        if found.status_code not in (200, 404):
            await _refuse(context, found)
        return pb.ModelReadyResponse(ready=found.status_code == 200)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        """The inputs and outputs of an endpoint's model."""
        found = await self._asked(context, _path(request.name, request.version))
        return grpc_messages.described((await _good(context, found)).json())

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        """The answer of an endpoint."""
        try:
            body, length = grpc_messages.packed(request)
        except BadRequest as error:
            first = error.problems[0]
            await _end(context, grpc.StatusCode.INVALID_ARGUMENT, f"{first.field} {first.message}")
        path = f"{_path(request.model_name, request.model_version)}/infer"
        found = await _good(context, await self._asked(context, path, body, {_LENGTH: str(length)}))
        return grpc_messages.answer(found.content, int(found.headers[_LENGTH]))

    async def _asked(
        self, context: Any, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        given = {name: value for name, value in context.invocation_metadata() or () if name in _HANDED_ON}
        left = context.time_remaining()
        seconds = _LONGEST_S if left is None else min(left, _LONGEST_S)
        method = "GET" if body is None else "POST"
        try:
            found = await self._client.request(
                method, path, content=body, headers={**given, **(headers or {})}, timeout=max(seconds, 0.001)
            )
        except httpx.TimeoutException:
            await _end(context, grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer within {seconds:g} s")
        except httpx.TransportError as error:
            await _end(context, grpc.StatusCode.UNAVAILABLE, f"the server does not answer: {error}")
        told = ((name, found.headers[name]) for name in _HANDED_BACK if name in found.headers)
        context.set_trailing_metadata(tuple(told))
        return found


async def start(door: Door, network: Network) -> grpc.aio.Server:
    """The server of a door, listening where the network says; raises `EndpointError` when it cannot."""
    options = [
        ("grpc.max_receive_message_length", MOST_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # two servers on one port would share its clients, and nobody would notice
    ]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MOST_AT_ONCE)
    service.add_GRPCInferenceServiceServicer_to_server(door, server)
    host = f"[{network.host}]" if ":" in network.host else network.host
    try:
        if network.certificate:
            pair = (Path(network.private_key).read_bytes(), Path(network.certificate).read_bytes())
            server.add_secure_port(f"{host}:{network.grpc_port}", grpc.ssl_server_credentials([pair]))
        else:
            server.add_insecure_port(f"{host}:{network.grpc_port}")
        await server.start()
    except (OSError, RuntimeError) as error:
        raise EndpointError(
            f"gRPC cannot listen on {host}:{network.grpc_port}: {error}; set deploy.network.grpc_port to a free port"
        ) from error
    return server


def _path(name: str, version: str) -> str:
    """Where an endpoint answers for its model; what is no name of one is nowhere, and no way to other paths."""
    parts = [part if ENDPOINT.allows(part) else "-" for part in ((name, version) if version else (name,))]
    return f"/{parts[0]}/v2/models/{'/versions/'.join(parts)}"


async def _good(context: Any, found: httpx.Response) -> httpx.Response:
    if found.status_code != 200:
        await _refuse(context, found)
    return found


async def _refuse(context: Any, found: httpx.Response) -> NoReturn:
    """End the call with the error of an endpoint, or of the server where there is no endpoint."""
    status = found.status_code
    unknown = grpc.StatusCode.INTERNAL if status >= 500 else grpc.StatusCode.INVALID_ARGUMENT
    try:
        message = found.json()["error"]
    except (ValueError, KeyError, TypeError):
        message = "no endpoint has that name" if status == 404 else found.text
    await _end(context, _CODES.get(status, unknown), str(message))


async def _end(context: Any, code: grpc.StatusCode, message: str) -> NoReturn:
    await context.abort(code, message[:_LONGEST_MESSAGE])
    raise AssertionError("a call goes on that has ended")
