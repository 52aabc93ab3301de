"""Caching, resume and lineage in one rule: a stage whose manifest exists is not run again.

The fingerprint of a stage hashes its name, its code, its config, the seed and the fingerprints of what it reads. Its
files go to `<root>/artifacts/<stage>/<fingerprint>/`; the manifest is written last, atomically, so its existence is the
proof that the stage finished. A stage that died leaves files nobody refers to, and the next run writes them again.
"""

import ast
import hashlib
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel

from ray_mlops.contract import Artifact, Run
from ray_mlops.platform import files
from ray_mlops.stage_names import StageName

Stage = Callable[..., Artifact]
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Step:
    """One stage about to run.

    `upstream` are the named arguments it reads and `identity` stands for input from outside (the content of source
    files): both enter the fingerprint; `context` makes arguments that do not, when the stage really runs. An artifact that is no longer `valid` (an
    endpoint that went down) is made again.
    """

    name: StageName
    stage: Stage
    config: BaseModel
    upstream: Mapping[str, Any] = field(default_factory=dict)
    identity: str = ""
    context: Callable[[], Mapping[str, Any]] = dict
    valid: Callable[[Any], bool] = lambda artifact: True


@dataclass(frozen=True)
class Record:
    """What happened to one stage of a run; `seconds` is the time it took when it really ran."""

    stage: StageName
    status: str
    seconds: float
    artifact: Artifact

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            "stage": self.stage,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "rows": getattr(self.artifact, "rows", None),
            "artifact": self.artifact.model_dump(mode="json"),
        }


def once(step: Step, run: Run, *, again: bool = False, before: Callable[[], None] = lambda: None) -> Record:
    """Run a stage unless its manifest exists and is valid; `again` runs it in any case.

    `before` is called only when the stage really runs. Of two commands at once on one local root, one waits and finds what
    the other has made.
    """
    with files.alone(files.join(run.root, "artifacts", step.name, digest(_inputs(step, run)))):
        return _once(step, run, again=again, before=before)


def _once(step: Step, run: Run, *, again: bool, before: Callable[[], None]) -> Record:
    inputs = _inputs(step, run)
    fingerprint = digest(inputs)
    uri = files.join(run.root, "artifacts", step.name, fingerprint)
    manifest = files.join(uri, "manifest.json")
    if not again and (saved := _saved(manifest, step)):
        return saved
    before()
    started = time.monotonic()
    artifact = step.stage(
        step.config, replace(run, uri=uri, fingerprint=fingerprint), **step.upstream, **step.context()
    )
    seconds = time.monotonic() - started
    value = {"artifact": artifact.model_dump(mode="json"), "seconds": seconds, "run": run.id, "inputs": inputs}
    files.write_json(manifest, value)
    return Record(step.name, "done", seconds, artifact)


def _inputs(step: Step, run: Run) -> dict[str, Any]:
    module = inspect.getmodule(step.stage)
    assert module is not None, step.stage
    return {
        "stage": step.name,
        "code": code_hash(module.__name__),
        "config": describe(step.config),
        "seed": run.seed,
        "identity": step.identity,
        "upstream": {key: describe(value) for key, value in sorted(step.upstream.items())},
    }


def _saved(manifest: str, step: Step) -> Record | None:
    if not files.exists(manifest):
        return None
    saved = files.read_json(manifest)
    artifact = get_type_hints(step.stage)["return"].model_validate(saved["artifact"])
    return Record(step.name, "reused", saved["seconds"], artifact) if step.valid(artifact) else None


def digest(value: Any) -> str:
    """A short hash of JSON-able content; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def describe(value: Any) -> Any:
    """What of a value decides the result: an artifact's fingerprint, a config's fields, a user class's code."""
    if isinstance(value, Artifact):
        return value.fingerprint
    if isinstance(value, BaseModel):
        fields = {name: describe(getattr(value, name)) for name in type(value).model_fields}
        return {"type": type(value).__qualname__, "code": _foreign_code(type(value)), **fields}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [describe(item) for item in value]
    if inspect.isfunction(value):
        return {"function": value.__qualname__, "code": hashlib.sha256(inspect.getsource(value).encode()).hexdigest()}
    return value


def _foreign_code(kind: type) -> str:
    """Hash of the file that defines a user's class; our own classes are covered by `code_hash`."""
    if kind.__module__.split(".")[0] == "ray_mlops":
        return ""
    path = inspect.getsourcefile(kind)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""


@cache
def code_hash(module: str) -> str:
    """Hash of a module's source and of every `ray_mlops` module it imports, directly or not."""
    hashes = {name: hashlib.sha256(_source(name).encode()).hexdigest() for name in _closure(module)}
    return digest(hashes)


def _closure(module: str) -> set[str]:
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
