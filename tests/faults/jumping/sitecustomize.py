"""Found by every Python process that has this folder on its path: its wall clock follows a file, which says by how many seconds it is off.

Monotonic clocks and sleeps go on as they are, as they do where the clock of a machine is set. Nothing is done where no file is named.
"""

import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

FILE = "RAY_MLOPS_TEST_CLOCK"
LOOK_S = 0.02


def _follow(file: Path) -> None:
    import time_machine

    # Told by the clock that goes on: the other one is no more to be had from here.
    started, real = time.monotonic(), time.time()
    clock, off = time_machine.travel(datetime.fromtimestamp(real, UTC), tick=True).start(), 0.0
    while True:
        wanted = float(file.read_text() or off)
        if wanted != off:
            off = wanted
            clock.move_to(real + time.monotonic() - started + off)
        time.sleep(LOOK_S)


if FILE in os.environ:
    threading.Thread(target=_follow, args=(Path(os.environ[FILE]),), name="test clock", daemon=True).start()
