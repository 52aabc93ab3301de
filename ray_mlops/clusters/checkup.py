"""What only a cluster can tell of itself: `python -m ray_mlops.clusters.checkup`, run there as a job, or before one.

It is told what to look at in a JSON file: `pins` (versions), `demands` (`{"what", "count", "resources"}`), `root` (to be written
from every node), and prints a line of JSON for each finding: `{"check", "ok", "found", "todo"}`. With `plain` it says what is
wrong, for people, and nothing else.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_mlops.clusters import pins
from ray_mlops.platform import room
from ray_mlops.platform.cores import cores as own_cores

_SKEW_S = 2.0
_FREE_BYTES = 5 << 30
Finding = dict[str, Any]


def main(wanted: Mapping[str, Any]) -> int:
    """Print the findings; 1 when one is not as it should be."""
    good = True
    for found in check(wanted):
        if not wanted.get("plain"):
            print(json.dumps(found), flush=True)
        elif not found["ok"]:
            print(f"ray-mlops: {found['check']}: {found['found']}. To mend it, {found['todo']}.", flush=True)
        good = good and found["ok"]
    return 0 if good else 1


def check(wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings, those that need no Ray first. Without a root it has to be asked inside a job, and does not connect."""
    wrong = pins.differences(wanted.get("pins", {}))
    todo = "build the image from the same constraints.txt, or submit with --install"
    said = "; ".join(wrong[:8]) or "all libraries have the versions of here"
    yield finding("versions", not wrong, said, todo)
    if not wanted.get("root"):
        yield from (demanded(one, *room.capacity(os.environ["RAY_ADDRESS"])) for one in wanted.get("demands", ()))
        return
    from ray_mlops.platform import runtime

    runtime.connect()
    try:
        yield from resources(wanted.get("demands", ()))
        yield from _nodes(wanted["root"])
    finally:
        runtime.disconnect()


def resources(demands: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Whether there is or may be room for them on the cluster that this process is connected to."""
    yield from (demanded(one, *room.capacity(_address())) for one in demands)


def cores() -> float:
    """The processors of the nodes that are there; our own head declares more than it has (see `platform.local_head`)."""
    if not os.environ.get("RAY_ADDRESS"):
        return own_cores()
    return sum(kind.resources.get("CPU", 0.0) for kind in room.capacity(_address())[0])


def _address() -> str:
    import ray

    return ray.get_runtime_context().gcs_address


def finding(check: str, ok: bool, found: str, todo: str) -> Finding:
    """A finding; what to do about it is left out where there is nothing to do."""
    return {"check": check, "ok": ok, "found": found, "todo": "" if ok else todo}


def demanded(demand: Mapping[str, Any], here: Sequence[room.Kind], later: Sequence[room.Kind] | None) -> Finding:
    """Whether so many bundles of these resources fit, on the nodes that are there or those that may come."""
    count, resources = demand["count"], demand["resources"]
    what = f"{demand['what']} ({count} x {room.text(resources)})"
    if wrong := room.lacking(count, resources, here, later):
        todo = "ask for less, or add nodes of that size to the cluster"
        return finding("resources", False, f"{what} will never fit: {wrong}", todo)
    can = "may make room, but does not tell what it can start" if later is None else "can make room"
    when = "there is room" if room.now(count, resources, here) else f"the autoscaler {can}"
    return finding("resources", True, f"{what}: {when}", "")


def _nodes(root: str) -> Iterator[Finding]:
    """Write, read and delete a file of the root from each node; compare clocks; look at the free space."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0)(look)
    for node in [node for node in ray.nodes() if node["Alive"]]:
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        name = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
        sent = time.time()
        told = ray.get(remote.options(scheduling_strategy=strategy).remote(root, node["NodeID"]), timeout=120)
        yield from of_node(name, told, root, asked=(sent, time.time()))


def of_node(name: str, told: Mapping[str, Any], root: str, *, asked: tuple[float, float]) -> Iterator[Finding]:
    """What to think of what a node said of itself between two moments of this clock, seconds since the epoch."""
    yield finding(
        "storage", not told["storage"], f"{name}: {told['storage'] or f'writes to {root}'}",
        "give the node's role the right to read and write below the root; a folder must be shared by all nodes",
    )  # fmt: skip
    sent, back = asked
    skew = max(sent - told["time"], told["time"] - back, 0.0)
    yield finding("clock", skew <= _SKEW_S, f"{name}: {skew:.1f} s off", "run chrony or ntpd on the nodes")
    free = told["free"]
    yield finding("disk", free > _FREE_BYTES, f"{name}: {free / 1e9:.0f} GB free", "give the nodes larger disks")


def look(root: str, node: str) -> dict[str, Any]:
    """What a node says of itself."""
    from ray_mlops.errors import StorageError
    from ray_mlops.platform import files

    place, wrong = files.join(root, ".doctor", node), ""
    moment = time.time()
    try:
        files.write_text(place, node)
        wrong = "" if files.read_text(place) == node else f"reads from {root} what it did not write"
        files.remove(place)
    except StorageError as error:
        wrong = str(error)
    return {"storage": wrong, "time": moment, "free": shutil.disk_usage("/tmp").free}


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text())))
