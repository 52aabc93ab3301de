"""Processes of this machine, by number: where a number counts, whether they live, and how they end."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_OF_THE_MACHINE = "pid:[4026531836]"  # PROC_PID_INIT_INO: Linux' first namespace, outside of all containers


def here() -> str:
    """Where the numbers of processes mean what they mean here: this machine, by its name, and in a container that too, as
    containers may share the name of their host and count for themselves."""
    machine = socket.gethostname()
    with suppress(OSError):  # no Linux: no containers
        counted = os.readlink("/proc/self/ns/pid")
        return machine if counted == _OF_THE_MACHINE else f"{machine} {counted}"
    return machine


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number on this machine that has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _ended(pid)


def die_with_parent() -> None:
    """Have this process killed when the one that started it is gone; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def end(pid: int) -> None:
    """Ask a process to go; if it does not within 15 s, end its whole process group."""
    try:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 15
        while not _reaped(pid):
            os.kill(pid, 0)
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                return
            time.sleep(0.05)
    except ProcessLookupError:
        return  # it has ended


def call_bound(code: str, words: Sequence[str]) -> int:
    """Run a line of Python with these arguments in a process of its own that dies with this one; its exit code, negative where a
    signal ended it. Where this process is stopped, that one is asked to stop and waited for."""
    bound = f"from ray_mlops.platform import processes; processes.die_with_parent(); {code}"
    with subprocess.Popen([sys.executable, "-c", bound, *words]) as process:
        try:
            return process.wait()
        except BaseException:
            with suppress(subprocess.TimeoutExpired):
                process.wait(2)  # Ctrl-C has reached it as well
            process.terminate()
            raise


def _ended(pid: int) -> bool:
    """Whether it has ended and only its number is left, until its parent asks: in a container often for ever."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # no Linux, or it is gone meanwhile
        return False


def _reaped(pid: int) -> bool:
    """Whether the process was a child of this one and has ended; a zombie would answer signals for ever."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False
