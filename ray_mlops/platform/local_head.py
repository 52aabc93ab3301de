"""The process that owns the local cluster: `python -m ray_mlops.platform.local_head RECORD TEMP_DIR`.

It starts a head node, writes its address to RECORD and waits; SIGTERM ends it and, with it, the cluster. `ray start`
would do the same in 8 to 14 s instead of 3, and leave half a dozen processes to be found one by one.
"""

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from ray_mlops.platform import files
from ray_mlops.platform.cores import cores


def main(record: str, temp_dir: str) -> None:
    """Own a head node until SIGTERM."""
    import ray

    # Two logical CPUs beyond the cores: replicas and Train's coordinators mostly wait, and would otherwise starve
    # (or, with lazily read data, deadlock) the work itself.
    ray.init(
        num_cpus=cores() + 2,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=temp_dir,
        logging_level=logging.ERROR,
    )
    files.write_json(
        record,
        {
            "address": ray.get_runtime_context().gcs_address,
            "pid": os.getpid(),
            "temp_dir": temp_dir,
            "users": [],
            "endpoints": [],
        },
    )
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    while not asked.wait(timeout=3600):
        pass
    Path(record).unlink(missing_ok=True)
    ray.shutdown()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(sys.argv[1], sys.argv[2])
