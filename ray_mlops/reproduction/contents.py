"""The content of an artifact: everything that must be the same when a stage is run again, by name.

Times and places are no content, nor is what says under what conditions a stage ran (commit, libraries, machine): that is
input, and told as such. Tables count by the identity of their rows, models and bundles by the digests of their files.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ray_mlops.contract import Artifact, ModelVersion, Snapshot, Trained
from ray_mlops.platform import files
from ray_mlops.platform.bundle import MANIFEST as BUNDLE_MANIFEST
from ray_mlops.platform.store import MANIFEST

MODEL = "model"
LINEAGE = "lineage.json"
_CONDITIONS = ("code", "git", "environment")  # of a lineage
# What an artifact says of times and places, and the number that a registry gave it.
_NO_CONTENT = frozenset(
    (
        "uri",
        "fingerprint",
        "metadata",
        "iceberg_snapshot",
        "performance",
        "checkpoints",
        "threads",
        "hardware",
        "latest",
        "version",
        "aliases",
    )
)
_NO_CONTENT_OF_FILES = frozenset(("uri", "fingerprint", "metadata", "iceberg_snapshot", "seconds"))
_REPORT = "report"
_TEXTS = (".json", ".jsonl")

Content = Mapping[str, Any]


def content(artifact: Artifact) -> Content:
    """The content of an artifact and of the files it has written, flat: dotted names to plain values.

    Raises `StorageError` when a file of it is gone.
    """
    found = dict(_flat(_fields(artifact)))
    if isinstance(artifact, ModelVersion):
        return {**found, **bundle_files(artifact.uri)}
    for path, name in _written(artifact):
        found |= _of_file(path, name)
    return found


def bundle_files(uri: str) -> dict[str, Any]:
    """The files of a bundle by their hashes; of the lineage what is no condition."""
    hashes = dict(files.read_json(files.join(uri, BUNDLE_MANIFEST))["files"])
    found: dict[str, Any] = {}
    if hashes.pop(LINEAGE, None):
        lineage = files.read_json(files.join(uri, LINEAGE))
        kept = {name: value for name, value in lineage.items() if name not in _CONDITIONS}
        found = dict(_flat(kept, f"{LINEAGE}."))
    return found | {f"bundle.{name}": value for name, value in hashes.items()}


def _fields(artifact: Artifact) -> dict[str, Any]:
    """The fields that are content; a snapshot within another artifact counts by its identity."""
    found = {}
    for name in type(artifact).model_fields:
        value = getattr(artifact, name)
        if name in _NO_CONTENT or name == _REPORT or _is_place(value, artifact):
            continue
        found[name] = value.snapshot if isinstance(value, Snapshot) else _plain(value)
    if isinstance(artifact, ModelVersion):
        found.pop("digest")  # it covers the conditions; the files are compared one by one
    return found


def _is_place(value: Any, artifact: Artifact) -> bool:
    """Whether a field names a file that the stage has written."""
    return isinstance(value, str) and value.startswith(artifact.uri + "/")


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)


def _written(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """The files of an artifact that hold content, with their names."""
    for name in files.listing(artifact.uri):
        if name.endswith((*_TEXTS, ".parquet")) and name != MANIFEST and not name.startswith("."):
            yield files.join(artifact.uri, name), name
    if isinstance(artifact, Trained):
        folder = files.join(artifact.uri, MODEL)
        yield from ((files.join(folder, name), f"{MODEL}/{name}") for name in files.listing(folder))


def _of_file(path: str, name: str) -> dict[str, Any]:
    if "/" in name or name.endswith(".parquet"):
        return {name: hashlib.sha256(files.read_bytes(path)).hexdigest()}
    text = files.read_text(path)
    value = [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)
    return dict(_flat(value, f"{name}."))


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by dotted names, without what is no content."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield prefix.rstrip("."), value
        return
    for name, item in inner:
        if name not in _NO_CONTENT_OF_FILES:
            yield from _flat(item, f"{prefix}{name}.")
