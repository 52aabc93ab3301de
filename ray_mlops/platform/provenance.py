"""Where a model comes from, besides its data: the commit, the code, the libraries, the settings, the machine.

What is in the bundle is content, and the same wherever the model is made. What is not lies beside it, in
`<digest>.made.json`: no digest and no fingerprint depends on it.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ray_mlops.contract import Run, Trained
from ray_mlops.platform import files
from ray_mlops.platform.source_code import code_hash, digest

_PACKAGES = ("ray", "numpy", "pyarrow", "xgboost-cpu", "lightgbm", "scikit-learn", "torch")
_MOST_DIFF_BYTES = 1 << 20


def made_by(code: Sequence[str], recipe: str) -> dict[str, Any]:
    """The hashes of the modules `code` with all that they import, the commit, and the versions of the libraries."""
    return {
        "code": {module: code_hash(module) for module in code},
        "git": git(recipe).get("commit", ""),
        "environment": _environment(),
    }


@cache
def conditions(recipe: str) -> dict[str, Any]:
    """What this process works under: the commit, the versions of Python and the libraries, the machine."""
    told = {name: value for name, value in git(recipe).items() if name != "diff"}
    return {"git": told, "environment": _environment(), "machine": machine()}


def beside(bundle: str) -> str:
    """The file beside a bundle that says in which run, from what and where it was made first."""
    return f"{bundle.rstrip('/')}.made.json"


def note(bundle: str, run: Run, fitted: Trained) -> None:
    """Write that file, with the hardware that the model was fitted on, unless another run has made the same bundle before; raises `StorageError`."""
    lock = distributions()
    value = {
        "run": run.id,
        "seed": run.seed,
        "git": git(run.recipe),
        "hardware": {**fitted.hardware, "workers": fitted.workers, "threads": fitted.threads},
        "config": {"digest": digest(config := _config(run)), "resolved": config},
        "lock": {"digest": digest(lock), "distributions": lock},
    }
    files.create_bytes(beside(bundle), (json.dumps(value, indent=2) + "\n").encode())


def told(bundle: str) -> dict[str, Any]:
    """What lies beside a bundle, in short: of what is long its digest, and where it is. Empty for one that has nothing there."""
    content = files.find_bytes(beside(bundle))
    if content is None:
        return {}
    value = json.loads(content)
    git_ = {name: one for name, one in value["git"].items() if name != "diff"}
    config, lock = value["config"], value["lock"]
    return {
        "git": git_,
        "hardware": value["hardware"],
        "config": {"digest": config["digest"]},
        "lock": {"digest": lock["digest"], "distributions": len(lock["distributions"])},
        "in_full": beside(bundle),
    }


def config_file(root: str, run: str) -> str:
    """Where the resolved config of a run is, by its id."""
    return files.join(files.absolute(root), "runs", run, "config.yaml")


def _config(run: Run) -> Any:
    """The resolved config of a run; None of one that has left none, as a stage that was called by itself."""
    text = files.find_bytes(config_file(run.root, run.id))
    return None if text is None else yaml.safe_load(text)


def distributions() -> dict[str, str]:
    """The version of everything that is installed here, by name: with it `pip install` makes the same environment."""
    found = {one.name.lower().replace("_", "-"): one.version for one in importlib.metadata.distributions() if one.name}
    return dict(sorted(found.items()))


def machine() -> dict[str, Any]:
    """The hardware of this process: model and number of the processor's cores, memory in GiB, the NVIDIA GPUs."""
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "gpus": [_field(path, "Model") for path in gpus],
    }


def _field(path: Path, name: str) -> str:
    """The first value of this name in a file of lines `name : value`; empty where there is none."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return next((value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == name), "")


def git(recipe: str) -> dict[str, Any]:
    """The commit that the recipe's file is of, else the one that this package is of, whether tracked files there have
    changes (`dirty`), the SHA-256 of these and, up to a MiB, the changes themselves. Empty where neither is tracked: a
    repository that merely holds the environment, or that the command was started in, says nothing of the code."""
    for file in (Path(recipe.partition(":")[0]), Path(__file__)):
        if file.suffix == ".py" and file.is_file() and _git(file, "ls-files", "--error-unmatch", "--", file.name):
            diff = _git(file, "diff", "HEAD", "--no-ext-diff", "--no-color")
            told = {"commit": _git(file, "rev-parse", "HEAD").decode().strip(), "dirty": bool(diff)}
            if diff:
                told["diff_sha256"] = hashlib.sha256(diff).hexdigest()
                told["diff"] = diff.decode(errors="replace") if len(diff) <= _MOST_DIFF_BYTES else ""
            return told
    return {}


def _git(file: Path, *words: str) -> bytes:
    """What git prints, asked in the folder of a file; nothing where it refuses, or is not there."""
    command = shutil.which("git")
    if command is None:
        return b""
    asked = subprocess.run([command, "-C", str(file.absolute().parent), *words], capture_output=True, check=False)
    return asked.stdout if asked.returncode == 0 else b""


def _environment() -> dict[str, str]:
    return {"python": platform.python_version(), **_versions()}


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # an optional library that this model cannot have used
            continue
    return found
