"""Caching, resume and lineage in one rule: a stage whose manifest exists is not run again.

The fingerprint of a stage hashes its name, its code, its config, the seed and the fingerprints of what it reads. Its
files go to `<root>/artifacts/<stage>/<fingerprint>/`; the manifest is written last, atomically, so its existence is the
proof that the stage finished. A stage that died leaves files nobody refers to, and the next run writes them again.
"""

import hashlib
import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel

from ray_mlops.contract import Artifact, Run
from ray_mlops.platform import files, leases, provenance
from ray_mlops.platform.source_code import code_hash, digest, module_hashes
from ray_mlops.stage_names import StageName

Stage = Callable[..., Artifact]
FOLDER, MANIFEST = "artifacts", "manifest.json"


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

    `before` is called only when the stage really runs. Of two commands at once on one root, one waits and finds what the
    other has made.
    """
    entered = inputs(step, run)
    fingerprint = digest(entered)
    uri = folder(run.root, step.name, fingerprint)
    if not again and (saved := _saved(files.join(uri, MANIFEST), step)):
        return saved
    with leases.alone(uri):
        placed = replace(run, uri=uri, fingerprint=fingerprint)
        return _once(step, placed, entered, again=again, before=before)


def _once(step: Step, run: Run, entered: dict[str, Any], *, again: bool, before: Callable[[], None]) -> Record:
    manifest = files.join(run.uri, MANIFEST)
    if not again and (saved := _saved(manifest, step)):
        return saved
    before()
    started = time.monotonic()
    context = step.context()
    artifact = step.stage(step.config, run, **step.upstream, **context)
    seconds = time.monotonic() - started
    value = {"artifact": artifact.model_dump(mode="json"), "seconds": seconds, "run": run.id, "inputs": entered}
    files.write_json(manifest, {**value, "context": _dumped(context), "conditions": conditions(step, run)})
    return Record(step.name, "done", seconds, artifact)


def folder(root: str, stage: str, fingerprint: str) -> str:
    """Where a stage leaves its files and its manifest; a bundle, which registering makes, lies elsewhere."""
    return files.join(root, FOLDER, stage, fingerprint)


def manifest(root: str, stage: str, fingerprint: str) -> dict[str, Any]:
    """All that is recorded of a stage that has finished."""
    return files.read_json(files.join(folder(root, stage, fingerprint), MANIFEST))


def forget(root: str, stage: str, made: Mapping[str, Any]) -> None:
    """Have a stage run again that has made this: remove the manifests of artifacts with these values."""
    for name in files.listing(files.join(root, FOLDER, stage)):
        manifest = files.join(folder(root, stage, name), MANIFEST)
        if files.exists(manifest) and made.items() <= files.read_json(manifest)["artifact"].items():
            files.remove(manifest)


def inputs(step: Step, run: Run) -> dict[str, Any]:
    """All that enters the fingerprint of a stage, as JSON."""
    return {
        "stage": step.name,
        "code": code_hash(_module(step)),
        "config": describe(step.config),
        "seed": run.seed,
        "identity": step.identity,
        "upstream": {key: describe(value) for key, value in sorted(step.upstream.items())},
    }


def conditions(step: Step, run: Run) -> dict[str, Any]:
    """What a stage is run under and what does not make it run again: the commit, the libraries, the machine; and its
    code by module, so that a difference can be named."""
    return {**provenance.conditions(run.recipe), "modules": module_hashes(_module(step))}


def _module(step: Step) -> str:
    module = inspect.getmodule(step.stage)
    assert module is not None, step.stage
    return module.__name__


def _dumped(context: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for name, value in context.items()
    }


def _saved(manifest: str, step: Step) -> Record | None:
    if not files.exists(manifest):
        return None
    saved = files.read_json(manifest)
    artifact = get_type_hints(step.stage)["return"].model_validate(saved["artifact"])
    return Record(step.name, "reused", saved["seconds"], artifact) if step.valid(artifact) else None


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
