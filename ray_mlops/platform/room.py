"""Whether a cluster can ever have what is asked of it: told at once, where Ray would wait.

A kind of node counts as often as it is there, or as the autoscaler may start it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of node: its name, how many of it there are or may be, what one of them has."""

    name: str
    most: int
    resources: Mapping[str, float]


def capacity(address: str) -> tuple[list[Kind], list[Kind]]:
    """The nodes of the cluster at an address that are there, and those that its autoscaler may start.

    Whoever asks need not be connected, which takes seconds.
    """
    from ray._private.state import GlobalState
    from ray._raylet import GcsClientOptions  # pyright: ignore[reportAttributeAccessIssue]  compiled, without types

    state = GlobalState()
    state._initialize_global_state(
        GcsClientOptions.create(address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
    )
    here = [Kind(node["NodeID"][:8], 1, node["Resources"]) for node in state.node_table() if node["Alive"]]
    config = state.get_cluster_config()
    groups = config.node_group_configs if config else ()
    return here, [Kind(group.name, group.max_count, dict(group.resources)) for group in groups]


def lacking(count: int, resources: Mapping[str, float], here: Sequence[Kind], later: Sequence[Kind]) -> str:
    """Why so many bundles of these resources will never fit; empty when they do, now or later."""
    room = max(sum(kind.most * _fit(kind.resources, resources) for kind in kinds) for kinds in (here, later))
    if room >= count:
        return ""
    shapes = [
        {name: kind.resources[name] for name in ("CPU", "GPU") if name in kind.resources} for kind in (*here, *later)
    ]
    largest = max(shapes, key=lambda shape: sum(shape.values()), default={})
    return f"there is room for {room} of {count} x {text(resources)}; the largest node has {text(largest) or 'nothing'}"


def now(count: int, resources: Mapping[str, float], here: Sequence[Kind]) -> bool:
    """Whether they fit on the nodes that are there."""
    return sum(kind.most * _fit(kind.resources, resources) for kind in here) >= count


def text(resources: Mapping[str, float]) -> str:
    """Resources as people write them."""
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())


def _fit(has: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    shares = [has.get(name, 0.0) / amount for name, amount in wanted.items() if amount]
    return int(min(shares, default=1_000_000) + 1e-9)
