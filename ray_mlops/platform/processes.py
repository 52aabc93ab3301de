"""Processes of this machine, by number: whether they live, and how they end."""

import os
import signal
import time


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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


def _reaped(pid: int) -> bool:
    """Whether the process was a child of this one and has ended; a zombie would answer signals for ever."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False
