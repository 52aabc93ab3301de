"""The libraries that a run is made with, by their exact versions, here and on the nodes of a cluster."""

import importlib.metadata
import platform
from collections.abc import Mapping

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_OURS = "ray-mlops"


def pinned() -> dict[str, str]:
    """The version of every library that this installation needs, directly or not, and of Python itself."""
    found: dict[str, str] = {"python": platform.python_version()}
    waiting: list[tuple[str, frozenset[str]]] = [(_OURS, frozenset())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # a requirement of another system, or of an extra
            continue
        if name != _OURS:
            found[name] = distribution.version
        for text in distribution.requires or ():
            needed = Requirement(text)
            chosen = [{"extra": extra} for extra in ("", *extras)]
            if needed.marker is None or any(needed.marker.evaluate(one) for one in chosen):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return dict(sorted(found.items()))


def requirements(pins: Mapping[str, str]) -> list[str]:
    """What pip is to install on a cluster: `name==version` of all but Python and Ray, which are the cluster's own. A local build
    such as torch 2.14.1+cpu is on no index, and is asked for as 2.14.1."""
    return [f"{name}=={version.partition('+')[0]}" for name, version in pins.items() if name not in ("python", "ray")]


def differences(pins: Mapping[str, str]) -> list[str]:
    """What is another version here, or missing, one line each: `numpy 2.3.1 instead of 2.4.6`."""
    lines = []
    for name, version in pins.items():
        if name == "python":
            here: str | None = platform.python_version()
            same = (
                here.rpartition(".")[0] == version.rpartition(".")[0]
            )  # a bug fix of Python changes no result of ours
        else:
            here = _here(name)
            same = (
                here is not None and here.partition("+")[0] == version.partition("+")[0]
            )  # torch 2.14.1+cpu is 2.14.1
        if not same:
            lines.append(f"{name} {here or 'missing'} instead of {version}")
    return lines


def _here(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
