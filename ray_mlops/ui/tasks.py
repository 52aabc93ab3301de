"""What takes longer than an answer may: commands of `ray-mlops`, run beside the console, with what they print kept."""

import re
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ray_mlops.errors import ConfigError

MOST = 50
_TAIL = 20_000
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Task:
    """One command: what for, by whom, its process and the file of its output."""

    id: str
    about: str
    by: str
    began: datetime
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def status(self) -> Literal["running", "done", "failed"]:
        """Where it is."""
        code = self.process.poll()
        return "running" if code is None else "done" if code == 0 else "failed"

    @property
    def output(self) -> str:
        """The end of what it has printed."""
        return _COLOURS.sub("", self.log.read_bytes()[-_TAIL:].decode("utf-8", "replace"))


class Tasks:
    """The commands that this console has started, the latest first. One at a time on the same thing."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ray-mlops-console-"))
        self._known: dict[str, Task] = {}
        self._lock = threading.Lock()

    def start(self, about: str, arguments: Sequence[str], *, by: str) -> Task:
        """Run `ray-mlops ARGUMENTS`; raises `ConfigError` while the same is under way."""
        with self._lock:
            if any(task.about == about and task.status == "running" for task in self._known.values()):
                raise ConfigError(f"{about} is under way already")
            identity = secrets.token_hex(8)
            log = self._folder / f"{identity}.log"
            with log.open("wb") as out:
                process = subprocess.Popen(
                    [sys.executable, "-m", "ray_mlops.cli", *arguments],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                )  # fmt: skip
            task = Task(identity, about, by, datetime.now(UTC), process, log)
            self._known[identity] = task
            for old in [known for known in self._known.values() if known.status != "running"][:-MOST]:
                del self._known[old.id]
                old.log.unlink(missing_ok=True)
            return task

    def all(self) -> list[Task]:
        """All that is known."""
        return list(reversed(self._known.values()))

    def find(self, identity: str) -> Task | None:
        """One of them."""
        return self._known.get(identity)
