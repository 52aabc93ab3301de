"""Whether a cluster can ever have what is asked of it: told at once, where Ray would wait.

A kind of node counts as often as it is there, or as the autoscaler may start it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import yaml

_GROUP = "ray.io/node-group"  # Ray's label of the kind of a node


class Kind(NamedTuple):
    """A kind of node: its name, how many of it there are or may be, what one of them has."""

    name: str
    most: int
    resources: Mapping[str, float]


def capacity(address: str) -> tuple[list[Kind], list[Kind] | None]:
    """The nodes of the cluster at an address that are there, and those that its autoscaler may start; None where there may be
    one that does not tell.

    Whoever asks need not be connected, which takes seconds.
    """
    from ray._private.state import GlobalState
    from ray._raylet import GcsClientOptions  # pyright: ignore[reportAttributeAccessIssue]  compiled, without types

    state = GlobalState()
    state._initialize_global_state(
        GcsClientOptions.create(address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
    )
    nodes = [node for node in state.node_table() if node["Alive"]]
    here = [Kind(node["NodeID"][:8], 1, node["Resources"]) for node in nodes]
    if config := state.get_cluster_config():
        return here, [Kind(group.name, group.max_count, dict(group.resources)) for group in config.node_group_configs]
    # Ray's own autoscaler does not report what it may start (2.60); it is told in the file with which the head was started.
    if files := list(_config_files(address)):
        return here, _startable(files[0])
    grouped = any(_GROUP in (node.get("Labels") or {}) for node in nodes)  # by KubeRay or `ray up`
    return here, None if grouped else []


def _config_files(address: str) -> Iterator[Path]:
    """The config of the autoscaler of a cluster, where its head is this machine."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if f"--gcs-address={address}" in words:
                named = (word.partition("=")[2] for word in words if word.startswith("--autoscaling-config="))
                yield from (Path(name).expanduser() for name in named)


def _startable(config: Path) -> list[Kind] | None:
    """The kinds of nodes in a config of `ray up` that an autoscaler may start; None where it leaves open what one of them has, or
    cannot be read."""
    try:
        told = yaml.safe_load(config.read_text())
        most = told["max_workers"]
        kinds = {name: kind for name, kind in told["available_node_types"].items() if name != told["head_node_type"]}
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None
    if not all(kind.get("resources") for kind in kinds.values()):
        return None
    return [Kind(name, min(kind.get("max_workers", most), most), kind["resources"]) for name, kind in kinds.items()]


def lacking(count: int, resources: Mapping[str, float], here: Sequence[Kind], later: Sequence[Kind] | None) -> str:
    """Why so many bundles of these resources will never fit; empty when they do, now or later, or may as far as is known."""
    if later is None:
        return ""
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
