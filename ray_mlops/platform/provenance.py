"""Where a model comes from, besides its data: the commit, the code, the libraries."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from typing import Any

from ray_mlops.platform.source_code import code_hash

_PACKAGES = ("ray", "numpy", "pyarrow", "xgboost-cpu", "lightgbm", "scikit-learn", "torch")


def made_by(code: Sequence[str]) -> dict[str, Any]:
    """The hashes of the modules `code` with all that they import, the commit, and the versions of the libraries."""
    return {
        "code": {module: code_hash(module) for module in code},
        "git": _git_commit(),
        "environment": _environment(),
    }


@cache
def conditions() -> dict[str, Any]:
    """What this process works under: the commit, the versions of Python and the libraries, the kind of machine."""
    machine = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
    return {"git": _git_commit(), "environment": _environment(), "machine": machine}


def _environment() -> dict[str, str]:
    return {"python": platform.python_version(), **_versions()}


def _git_commit() -> str:
    """The commit of the working folder, when it is a git repository."""
    git = shutil.which("git")
    if git is None:
        return ""
    asked = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # an optional library that this model cannot have used
            continue
    return found
