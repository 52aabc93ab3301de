"""A node that is taken away: Ray is told with its deadline, starts nothing more there, and fits on it save themselves."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray_mlops.errors import RayMlopsError

_ANSWER_S = 10
_LOOK_S = 1.0


def drain(address: str, deadline: float, reason: str, *, node: str = "") -> str:
    """Tell the cluster at `address` ("host:port") that a node goes away at `deadline` (seconds since the epoch); its id.

    `node` is the id of the node in hex, by default that of this machine. Raises `RayMlopsError` when the cluster does not answer,
    this machine has no node there or several, or the drain is refused.
    """
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # pyright: ignore[reportAttributeAccessIssue]  generated

    preemption = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    with _cluster(address) as client:
        node = node or _here(client, address)
        accepted, refusal = client.drain_node(node, preemption, reason, int(deadline * 1000), timeout=_ANSWER_S)
    if not accepted:
        raise RayMlopsError(f"the cluster at {address} refuses to drain node {node}: {refusal}")
    return node


def wait(address: str, node: str, deadline: float) -> bool:
    """Until a draining node has ended, which it does once nothing runs there, or until its deadline; whether it has ended."""
    with _cluster(address) as client:
        while node in _workers(client):
            if time.time() >= deadline:
                return False
            time.sleep(_LOOK_S)
    return True


def _here(client: Any, address: str) -> str:
    """The worker node of this machine; a head is not meant to go."""
    from ray.util import get_node_ip_address

    mine = get_node_ip_address()
    found = [node for node, at in _workers(client).items() if at == mine]
    if len(found) != 1:
        raise RayMlopsError(f"the cluster at {address} has {len(found)} worker nodes at {mine}: name one with --node")
    return found[0]


def _workers(client: Any) -> dict[str, str]:
    """The ids and addresses of the worker nodes that are alive."""
    from ray.core.generated.gcs_pb2 import GcsNodeInfo  # pyright: ignore[reportAttributeAccessIssue]  generated

    known = client.get_all_node_info(timeout=_ANSWER_S).items()
    alive = {node.hex(): info for node, info in known if info.state == GcsNodeInfo.GcsNodeState.Value("ALIVE")}
    return {node: info.node_manager_address for node, info in alive.items() if not info.is_head_node}


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """What speaks with the head; its errors come as ours."""
    from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]  compiled
    from ray.exceptions import RayError

    try:
        yield GcsClient(address=address)
    except (RayError, ValueError) as error:
        raise RayMlopsError(
            f"the cluster at {address} does not answer ({error}): check --address and the token"
        ) from error
