"""The gRPC door of a cluster's endpoints on Ray Serve, which starts it anew when it dies: one, on the machine of the proxy."""

from typing import Any

from ray_mlops.errors import EndpointError
from ray_mlops.serving.access.network import Network

APPLICATION = "grpc.door"  # no endpoint can be called so


class DoorReplica:
    """What Serve runs: a server that asks the endpoints at `url`, listening where the network says."""

    async def __init__(self, url: str, network: dict[str, Any]) -> None:
        from ray_mlops.serving.protocols import grpc_door

        self._door = grpc_door.Door(url)
        self._server = await grpc_door.start(self._door, Network.model_validate(network))

    async def __del__(self) -> None:
        """Let those be answered who are being answered."""
        await self._server.stop(5)
        await self._door.close()


def target(url: str, network: Network, logging_config: dict[str, Any]) -> Any:
    """What `serve.run_many` starts."""
    from ray import serve

    decorate = serve.deployment(
        name=_name(network),
        num_replicas=1,
        # Endpoints listen on the machine of the head node, and so does their door.
        ray_actor_options={"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}},
        max_constructor_retry_count=2,
    )
    app = decorate(DoorReplica).bind(url, network.model_dump())
    return serve.RunTarget(app, name=APPLICATION, route_prefix=None, logging_config=logging_config)


def needed(network: Network, running: Any) -> bool:
    """Whether a door is to be started beside what runs under `APPLICATION`, None for nothing.

    Raises `EndpointError` when there is one that listens on another port.
    """
    if not network.grpc_port or running is None:
        return bool(network.grpc_port)
    if _name(network) not in running.deployments:
        (name,) = running.deployments
        port = name.rpartition("-")[2]
        raise EndpointError(
            f"the endpoints of this cluster answer gRPC on port {port}, so port {network.grpc_port} cannot be used: "
            f"set deploy.network.grpc_port to {port}, or undeploy them first"
        )
    return False


def _name(network: Network) -> str:
    return f"Door-{network.grpc_port}"
