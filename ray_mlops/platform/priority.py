"""Who comes first on a busy machine."""

import os
from contextlib import suppress
from pathlib import Path

USUAL = 0


def come_first() -> None:
    """Give all threads of this process the usual priority, where the system lets it.

    Ray starts its workers with niceness 15, behind all else: right for who trains, wrong for who answers, and for Serve, by
    whose hands answers go.
    """
    with suppress(OSError):  # not permitted, or no Linux
        for thread in Path("/proc/self/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), USUAL)


def come_last() -> None:
    """Let this process and its threads to come work only while nobody else would.

    Lowest niceness alone is not that: who wakes up beside such a process may wait for its turn to end, some milliseconds.
    """
    os.nice(19)
    with suppress(OSError, AttributeError):  # not permitted, or no Linux
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
