"""The product with one line of its source changed, as a program of its own: what a careless edit would make of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "ray_mlops"


def changed(folder: Path, file: str, line: str, into: str) -> Path:
    """A copy of the package below `folder` in which one line reads differently."""
    copy = folder / "changed"
    shutil.copytree(PACKAGE, copy / "ray_mlops", ignore=shutil.ignore_patterns("__pycache__"))
    source = copy / "ray_mlops" / file
    text = source.read_text()
    assert text.count(line) == 1, f"{file} has no single {line!r}: plant the skew elsewhere"
    source.write_text(text.replace(line, into))
    return copy


def call(copy: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the changed copy, to its end."""
    environment = {**os.environ, "PYTHONPATH": str(copy), **extra}
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=240, env=environment, cwd=copy)
