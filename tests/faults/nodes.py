"""A fit on a cluster of its own whose nodes come and go: `python nodes.py grow|learn|drain FOLDER`, ended by one JSON line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1",  # whatever a test before, on a Ray of its own, has left there
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}

import ray
from ray.cluster_utils import Cluster

from ray_mlops.clusters import draining
from ray_mlops.contract import Algorithm, Decision, Features, ImageFeatures
from ray_mlops.stages import features, train
from ray_mlops.stages.train import TrainConfig
from tests import small_images
from tests.faults.diarist import Diarist
from tests.faults.patient import Patient, diary
from tests.planted import FEATURES, a_run, by_many_causes, clean_table, events

LIMIT_S = 180
RECORD = "checkpoint_manager_snapshot.json"  # Ray's list of the checkpoints of a fit
HOLD = {"grow": 10, "learn": 6, "drain": 20}  # the step after which a fit waits for what is to happen


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
    node = cluster.add_node(num_cpus=1)
    until(lambda: len(diary(path)) >= 5)
    draining.drain(cluster.address, time.time() + 30, "taken away", node=node.node_id)
    cluster.add_node(num_cpus=1)
    until(lambda: any('"checkpoint_dir_name"' in file.read_text() for file in path.parent.rglob(RECORD)))
    cluster.remove_node(node, allow_graceful=False)
    path.with_name(path.name + ".go").touch()


ELASTIC = {"workers": (1, 2), "cpus_per_worker": 1, "resize_seconds": 1, "checkpoint_seconds": 0}
CASES: dict[str, tuple[Callable[[Cluster, Path], None], dict[str, Any], int]] = {
    "grow": (grow, ELASTIC, 1),
    "learn": (grow, ELASTIC, 1),
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


def given(case: str, folder: Path) -> tuple[Features | ImageFeatures, Algorithm]:
    """What is fitted: a network of images where it has to learn, else one that only counts its steps."""
    path = str(folder / "diary")
    if case == "learn":
        return small_images.featured(folder), Diarist(diary=path, alone=HOLD[case])
    made = features.run(FEATURES, a_run(folder, "features"), table=clean_table(events(by_many_causes), folder))
    return made, Patient(diary=path, alone=HOLD[case])


def fit(case: str, folder: Path, address: str) -> None:
    """Fit on the cluster."""
    _, config, _ = CASES[case]
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    made, algorithm = given(case, folder)
    result = train.run(
        TrainConfig(**config, in_process_rows=0),
        a_run(folder, "train"),
        features=made,
        decision=Decision(uri="", fingerprint="d", verdict="use_ml", reasons=("it pays",)),
        algorithm=algorithm,
    )
    print(json.dumps({"workers": result.workers, "metrics": result.metrics}), flush=True)


if __name__ == "__main__":
    (main if len(sys.argv) == 3 else fit)(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
