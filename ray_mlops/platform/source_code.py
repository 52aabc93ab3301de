"""The identity of code: hashes of the source of our modules and of all that they import of ours."""

import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]


def digest(value: Any) -> str:
    """A short hash of JSON-able content; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


@cache
def code_hash(module: str) -> str:
    """Hash of a module's source and of every `ray_mlops` module it imports, directly or not."""
    return digest(module_hashes(module))


@cache
def module_hashes(module: str) -> dict[str, str]:
    """The same by module: what changed shows in it."""
    return {name: hashlib.sha256(_source(name).encode()).hexdigest() for name in sorted(closure(module))}


def closure(module: str) -> set[str]:
    """The module and all modules of ours that it imports, directly or not."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found and _file(name):
            found.add(name)
            waiting.extend(_imports(name))
    return found


def _imports(module: str) -> Iterator[str]:
    """What a module imports of ours, also inside functions; read from its text, since importing would run it."""
    for node in ast.walk(ast.parse(_source(module))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _source(module: str) -> str:
    path = _file(module)
    return path.read_text() if path else ""


def _file(module: str) -> Path | None:
    """The file of one of our modules; None for anything else."""
    package, *parts = module.split(".")
    if package != _PACKAGE.name:
        return _foreign_file(module)
    place = _PACKAGE.joinpath(*parts)
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _foreign_file(module: str) -> Path | None:
    """The file of a user's stage, which is loaded; the libraries it imports do not count as its code."""
    loaded = sys.modules.get(module)
    path = getattr(loaded, "__file__", None)
    return Path(path) if path and "site-packages" not in path and not path.startswith(sys.base_prefix) else None
