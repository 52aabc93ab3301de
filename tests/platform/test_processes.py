"""Processes that live, end when asked, or have to be ended."""

import os
import signal
import subprocess
import sys

from ray_mlops.platform import processes


def test_one_that_is_asked_goes_and_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    assert processes.is_alive(child.pid) and processes.is_alive(os.getpid()) and processes.is_alive(1)
    processes.end(child.pid)
    assert not processes.is_alive(child.pid)
    processes.end(child.pid)  # nothing happens to one that is gone
    assert child.wait() in (0, -signal.SIGTERM)
