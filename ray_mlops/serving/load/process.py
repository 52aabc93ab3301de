"""The client in a process of its own, as its starter sees it."""

import json
import subprocess
import sys
from types import TracebackType
from typing import Self

from ray_mlops.errors import EndpointError
from ray_mlops.serving.load.client import Target
from ray_mlops.serving.load.step import Step

_FEWEST = 200  # requests in a step: below, a 99th percentile says little
_LONGEST = 3  # times as long as asked for, at most, to have so many


class Load:
    """Puts load on a target, `seconds` a step, longer at low rates; use as a context."""

    def __init__(self, target: Target, seconds: float) -> None:
        self._target, self._seconds, self._steps = target, seconds, 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "ray_mlops.serving.load.client"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say(self._target.model_dump_json())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def measure(self, rate: float) -> Step:
        """What was seen at `rate` requests a second; each step brings other requests at other moments."""
        self._steps += 1
        seconds = min(_LONGEST * self._seconds, max(self._seconds, _FEWEST / rate))
        self._say(json.dumps({"rate": rate, "seconds": seconds, "seed": self._steps}))
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise EndpointError("the process from which the load comes has died: what it said is above")
        return Step.model_validate_json(line)

    def _say(self, line: str) -> None:
        assert self._process.stdin
        try:
            print(line, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise EndpointError("the process from which the load comes has died: what it said is above") from None
