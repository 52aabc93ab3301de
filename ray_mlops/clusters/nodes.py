"""The process that owns a cluster of several nodes on this machine: `python -m ray_mlops.clusters.nodes`.

It is told what to start as JSON, in its only argument, and waits; who ends it and its children ends the cluster. `ray start` once a
node would take 10 s each, and leave half a dozen processes to be found one by one.
"""

import json
import signal
import sys
from typing import Any

from ray_mlops.platform import files


def main(wanted: dict[str, Any]) -> None:
    """Start a head without CPUs and the workers, write the address into the file `ready`, and wait to be ended."""
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 0,
        "include_dashboard": True,
        "dashboard_port": wanted["dashboard_port"],
        "dashboard_agent_listen_port": wanted["agent_port"],
        "ray_client_server_port": wanted["client_port"],
        "object_store_memory": wanted["store_bytes"],
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for number in range(wanted["workers"]):
        labels = {"ray-mlops/worker": str(number)}
        # A folder of its own for what jobs bring along: the nodes would unpack it over one another otherwise.
        own = {"labels": labels, "runtime_env_dir_name": f"brought-{number}"}
        cluster.add_node(num_cpus=wanted["cpus"], object_store_memory=wanted["store_bytes"], **own)
    files.write_json(wanted["ready"], {"address": cluster.address})
    signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the Ctrl-C of the terminal is meant for what runs there
    main(json.loads(sys.argv[1]))
