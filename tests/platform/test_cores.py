"""The number of cores is that of this process, not of the machine."""

import os
import subprocess
import sys


def test_a_process_that_may_use_one_core_has_one() -> None:
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); from ray_mlops.platform.cores import cores; print(cores())"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == "1"


def test_no_process_has_more_than_its_affinity_allows() -> None:
    from ray_mlops.platform.cores import cores

    assert 1 <= cores() <= len(os.sched_getaffinity(0))
