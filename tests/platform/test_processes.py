"""Processes that live, end when asked, or have to be ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ray_mlops.platform import processes


def test_one_that_is_asked_goes_and_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    assert processes.is_alive(child.pid) and processes.is_alive(os.getpid()) and processes.is_alive(1)
    processes.end(child.pid)
    assert not processes.is_alive(child.pid)
    processes.end(child.pid)  # nothing happens to one that is gone
    assert child.wait() in (0, -signal.SIGTERM)


def test_one_that_has_ended_does_not_live_though_nobody_has_asked_for_its_end() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_alive(child.pid)
    child.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="containers are Linux's")
def test_a_container_is_another_place_though_it_has_the_name_of_its_host() -> None:
    code = "from ray_mlops.platform import processes; print(processes.here())"
    contained = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    found = subprocess.run(contained, check=False, capture_output=True, text=True)
    if "not permitted" in found.stderr:
        pytest.skip(f"no process ids of its own: {found.stderr.strip()}")
    assert found.stdout.startswith(f"{socket.gethostname()} pid:[") and found.stdout.strip() != processes.here()


def test_a_bound_process_gives_its_code_and_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    assert processes.call_bound("import sys; sys.exit(int(sys.argv[1]))", ["7"]) == 7
    child = "import os, sys, time; open(sys.argv[1], 'w').write(f'{os.getpid()} '); time.sleep(60)"
    code = "import sys; from ray_mlops.platform import processes; processes.call_bound(sys.argv[1], sys.argv[2:])"
    note = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", code, child, str(note)])
    while not (note.exists() and note.read_text().endswith(" ")):
        time.sleep(0.02)
    pid = int(note.read_text())
    assert processes.is_alive(pid)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while processes.is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
