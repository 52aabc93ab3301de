"""A fit on a cluster of its own whose nodes come and go: `python nodes.py grow|drain FOLDER`, ended by one JSON line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}

import ray
from ray.cluster_utils import Cluster

from ray_mlops.contract import Decision
from ray_mlops.stages import features, train
from ray_mlops.stages.train import TrainConfig
from tests.faults.patient import Patient, diary
from tests.planted import FEATURES, a_run, by_many_causes, clean_table, events

LIMIT_S = 180
RECORD = "checkpoint_manager_snapshot.json"  # Ray's list of the checkpoints of a fit
HOLD = {"grow": 10, "drain": 20}  # the step after which a fit waits for what is to happen


def until(true: Callable[[], bool]) -> None:
    """Wait, but not for ever."""
    end = time.monotonic() + LIMIT_S
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("the fit did not come as far as expected")
        time.sleep(0.1)


def grow(cluster: Cluster, path: Path) -> None:
    """A node comes in the middle of the fit and is lost again."""
    until(lambda: len(diary(path)) >= 3)
    node = cluster.add_node(num_cpus=1)
    until(lambda: sum(size == 2 for _, size, _ in diary(path)) >= 3)
    path.with_name(path.name + ".go").touch()
    cluster.remove_node(node, allow_graceful=False)


def drain(cluster: Cluster, path: Path) -> None:
    """The only node with a CPU is given notice, replaced and then lost, when the fit has its checkpoint."""
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    node = cluster.add_node(num_cpus=1)
    until(lambda: len(diary(path)) >= 5)
    reason, deadline = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"), int((time.time() + 30) * 1000)
    GcsClient(address=cluster.address).drain_node(node.node_id, reason, "taken away", deadline)
    cluster.add_node(num_cpus=1)
    until(lambda: any('"checkpoint_dir_name"' in file.read_text() for file in path.parent.rglob(RECORD)))
    cluster.remove_node(node, allow_graceful=False)
    path.with_name(path.name + ".go").touch()


CASES: dict[str, tuple[Callable[[Cluster, Path], None], dict[str, Any], int]] = {
    "grow": (
        grow,
        {"workers": (1, 2), "cpus_per_worker": 1, "resize_seconds": 1, "checkpoint_seconds": 0},
        1,
    ),
    "drain": (
        drain,
        {"workers": 1, "cpus_per_worker": 1, "checkpoint_seconds": 1000, "retries": 3},
        0,
    ),
}


def main(case: str, folder: Path) -> None:
    """Let the nodes change, which only the main thread may do, while another process fits on them."""
    happens, _, cpus = CASES[case]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False})
    fitting = subprocess.Popen([sys.executable, __file__, case, str(folder), cluster.address])
    try:
        happens(cluster, folder / "diary")
        if fitting.wait(timeout=LIMIT_S):
            raise SystemExit(f"the fit ended with {fitting.returncode}")
    finally:
        fitting.kill()
        cluster.shutdown()


def fit(case: str, folder: Path, address: str) -> None:
    """Fit on the cluster."""
    _, config, _ = CASES[case]
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    made = features.run(FEATURES, a_run(folder, "features"), table=clean_table(events(by_many_causes), folder))
    result = train.run(
        TrainConfig(**config, in_process_rows=0),
        a_run(folder, "train"),
        features=made,
        decision=Decision(uri="", fingerprint="d", verdict="use_ml", reasons=("it pays",)),
        algorithm=Patient(diary=str(folder / "diary"), alone=HOLD[case]),
    )
    print(json.dumps({"workers": result.workers}), flush=True)


if __name__ == "__main__":
    (main if len(sys.argv) == 3 else fit)(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
