"""Who stands in for the ingress when it dies: a second HAProxy, with the last configuration of the first.

Ray notices within seconds, and needs seconds more to start another; a caller should not. What Ray starts then takes the
listening sockets over, and nobody is turned away. HAProxy's own master process would not start a worker anew that was
killed, and Ray asks that the process it has started is the one that listens.
"""

import os
import re
import select
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ray_mlops.platform import ingress

_LOOK_S = 0.1  # another may have taken the place of the one that is watched
_LONGEST_S = 60.0  # Serve would have started another: it was ended by someone else, who may want the port


class StandIn:
    """Watches over the ingress of a folder, as long as the context lasts, and stands in for it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._over = folder, threading.Event()
        self._started: list[subprocess.Popen[bytes]] = []
        self._watcher = threading.Thread(target=self._watch, name="stand-in", daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        missed, since = 0, 0.0
        while not self._over.is_set():
            running = self._running()
            self._forget_ended()
            if running in (0, missed):
                if self._started and time.monotonic() - since > _LONGEST_S:
                    self._end()
                self._over.wait(_LOOK_S)
            elif _ended(running, _LOOK_S) and running == self._running():
                missed, since = running, time.monotonic()
                self._start()
        self._end()

    def _running(self) -> int:
        """The process that Ray has started last; 0 when there is none, and none is wanted."""
        if (self._folder / ingress.CLOSED).exists():
            self._end()
            return 0
        try:
            return int((self._folder / ingress.RUNNING).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _start(self) -> None:
        last, socket = self._folder / ingress.LAST, ingress.stand_in_socket(self._folder)
        haproxy = ingress.binary()
        if haproxy is None or not last.exists():
            return
        config = self._folder / "stand-in.cfg"
        config.write_text(re.sub(r"(?m)^( *stats socket )\S+", rf"\g<1>{socket}", last.read_text()))
        command = [*ingress.with_parent(), haproxy, "-db", "-dR", "-f", str(config)]
        with (self._folder / "stand-in.log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._started.append(process)
        (self._folder / ingress.STANDING_IN).write_text(str(process.pid))

    def _end(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()
        self._forget_ended()

    def _forget_ended(self) -> None:
        """Its number may soon be that of another process, which is not to be asked to go."""
        before, self._started = self._started, [process for process in self._started if process.poll() is None]
        if before and not self._started:
            (self._folder / ingress.STANDING_IN).unlink(missing_ok=True)


def _ended(pid: int, seconds: float) -> bool:
    """Whether a process ends within some seconds, or has."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], seconds)[0])
    finally:
        os.close(process)
