"""The command line as a separate process, for tests that start it, stop it or kill it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

TINY = str(Path(__file__).parent / "recipes" / "tiny.py")


def environment(**extra: str) -> dict[str, str]:
    """The environment of a command that shares the test session's Ray."""
    import ray

    address = ray.get_runtime_context().gcs_address
    return {**os.environ, "RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled", **extra}


def command(*arguments: str) -> list[str]:
    """The command line's arguments, run by this Python."""
    return [sys.executable, "-m", "ray_mlops.cli", *arguments]


def call(*arguments: str, timeout_s: float = 240, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments),
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment(**extra),
    )


def job(name: str, *arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """Run one of the entry points that `ray job submit` runs, on the test session's Ray."""
    script = Path(__file__).resolve().parents[1] / "jobs" / f"{name}.py"
    done = [sys.executable, str(script), *arguments]
    return subprocess.run(done, check=False, capture_output=True, text=True, timeout=timeout_s, env=environment())


def call_until(stage: str, number: signal.Signals, delay_s: float, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command and send it a signal `delay_s` after `stage` has begun; waits for its end."""
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        # A test runner in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  no thread runs yet
    )
    timer = threading.Timer(240, process.kill)
    timer.start()
    assert process.stdout is not None and process.stderr is not None
    seen = ""
    try:
        for line in process.stdout:
            seen += line
            if line.startswith(f"{stage} begins"):
                time.sleep(delay_s)
                process.send_signal(number)
                break
        rest, errors = process.communicate()
    finally:
        timer.cancel()
    return subprocess.CompletedProcess(process.args, process.returncode, seen + rest, errors)


def newest_run(root: Path | str) -> dict[str, Any]:
    """The record of the newest run."""
    folders = sorted(Path(root, "runs").iterdir(), key=lambda folder: folder.stat().st_mtime)
    return json.loads((folders[-1] / "run.json").read_text())


def artifact(record: dict[str, Any], stage: str) -> dict[str, Any]:
    """What a stage of a run made."""
    return next(entry["artifact"] for entry in record["stages"] if entry["stage"] == stage)
