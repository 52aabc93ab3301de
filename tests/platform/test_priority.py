"""A worker that Ray has put behind all else comes first again, with all its threads, or stays where it is."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, os, threading
from ray_mlops.platform.priority import come_first
os.nice(7)
ended = threading.Event()
threading.Thread(target=ended.wait, daemon=True).start()
if {dropped}:
    os.setuid(65534)
come_first()
print(json.dumps([os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir("/proc/self/task")]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads have a niceness of their own on Linux only")
@pytest.mark.parametrize("may", [True, False])
def test_all_threads_get_the_usual_priority_where_they_may(may: bool) -> None:
    if may and os.geteuid() != 0:
        pytest.skip("only root may raise a priority")
    code = CODE.format(dropped=not may and os.geteuid() == 0)
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert json.loads(found) == [0 if may else min(os.nice(0) + 7, 19)] * 2  # the suite may be behind others itself


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the policy is Linux's")
def test_who_comes_last_works_only_while_nobody_else_would() -> None:
    code = "import os; from ray_mlops.platform.priority import come_last; come_last(); print(os.sched_getscheduler(0), os.nice(0))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.split() == [str(os.SCHED_IDLE), "19"]
