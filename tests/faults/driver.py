"""The driver on a head node, as the one who starts it sees it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.faults.namespaces import ROOT, Fleet, until


class Driver:
    """The driver on the head node; what it tells lies in files."""

    def __init__(self, nodes: Fleet, folder: Path) -> None:
        self.folder, self.log = folder, folder / "driver.log"
        command = [sys.executable, str(ROOT / "tests" / "faults" / "at_work.py")]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                nodes.head.inside(command),
                env={**nodes.head.environment, "RAY_ADDRESS": nodes.address},
                stdin=subprocess.PIPE, stdout=log, stderr=log, text=True,
            )  # fmt: skip

    def begin(self, work: str, attempt: str, folder: Path | None = None) -> None:
        """Have it do a work; `end` waits for that."""
        assert self._process.stdin
        self._process.stdin.write(
            json.dumps({"work": work, "attempt": attempt, "folder": str(folder or self.folder)}) + "\n"
        )
        self._process.stdin.flush()

    def ended(self, work: str, attempt: str, folder: Path | None = None) -> bool:
        """Whether it is done, or the driver gone."""
        return self._told(work, attempt, folder).exists() or self._process.poll() is not None

    def end(self, work: str, attempt: str, folder: Path | None = None) -> dict[str, Any]:
        """What came out."""
        until(lambda: self.ended(work, attempt, folder), f"{work} did not end: {self.log}")
        told = self._told(work, attempt, folder)
        assert told.exists(), self.log.read_text()[-3000:]
        found = json.loads(told.read_text())
        assert "error" not in found, found["error"]
        return found

    def _told(self, work: str, attempt: str, folder: Path | None) -> Path:
        return (folder or self.folder) / attempt / f"{work}-told.json"

    def close(self) -> None:
        """It ends with its node."""
        self._process.kill()
        self._process.wait()
