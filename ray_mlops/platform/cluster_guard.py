"""Whether the Ray cluster under some work is still the one it began on: for one that was replaced Ray would wait for ever."""

import math
import threading
import time
from collections.abc import Callable
from typing import Self

from ray_mlops.platform import runtime

EVERY_S = 2.0
SILENT_S = 60.0  # a head node that comes back within that, with its memory, takes its drivers up again


class ClusterGuard:
    """Looks after the cluster while the block runs, and calls `lost` once, in a thread of its own, with the reason, when another
    cluster has taken its place or none has answered for `silent_s`."""

    def __init__(self, lost: Callable[[str], object], *, silent_s: float = SILENT_S) -> None:
        self._lost, self._silent_s = lost, silent_s
        self._over, self._missed = threading.Event(), -math.inf
        self._thread = threading.Thread(target=self._look, name="cluster-guard", daemon=True)
        self._began = ""

    def __enter__(self) -> Self:
        self._began = runtime.identity()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def why(self) -> str:
        """Why work that has failed may be put down to the cluster; empty where it was there all the time."""
        now = runtime.identity()
        if self._began and now and now != self._began:
            return "another Ray cluster has taken the place of the one that it began on"
        lately = time.monotonic() - self._missed < self._silent_s  # its errors come after it
        return "the Ray cluster did not answer meanwhile" if lately or (self._began and not now) else ""

    def _look(self) -> None:
        seen = time.monotonic()
        while not self._over.wait(EVERY_S):
            now = runtime.identity()
            self._began = self._began or now  # a local one is only started by the work
            if now == self._began:
                seen = time.monotonic()
                continue
            self._missed = time.monotonic()
            if now or time.monotonic() - seen > self._silent_s:
                self._lost(self.why())
                return
