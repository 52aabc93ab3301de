"""What of a run root is referred to: by the records of runs, the registry, endpoints and rollouts.

Places are told from their folder on (`artifacts/train/0f…`), so that a root that was moved, or is reached by another name,
refers to what it holds.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray_mlops import commands, runs
from ray_mlops.errors import StorageError
from ray_mlops.platform import files, provenance, store, tracking
from ray_mlops.platform.bundle import origin
from ray_mlops.platform.registry import Registry
from ray_mlops.platform.table_files import Reference
from ray_mlops.serving import records

BUNDLES = "bundles"
_ARTIFACT = re.compile(rf"/{store.FOLDER}/([^/]+)/([^/]+)")
_BUNDLE = re.compile(rf"/{BUNDLES}/([0-9a-f]{{64}})")
_TABLE_IN_FILE = "quarantine"  # a field that names a JSON file with a table
_STARTED_WITH = "running.json"


@dataclass
class References:
    """Artifacts as `stage/fingerprint`, bundles by digest, snapshots of tables."""

    artifacts: set[str] = field(default_factory=set)
    bundles: set[str] = field(default_factory=set)
    snapshots: set[Reference] = field(default_factory=set)

    def read(self, value: Any) -> None:
        """Add what a JSON value refers to."""
        if isinstance(value, Mapping):
            if {"metadata", "iceberg_snapshot"} <= set(value):
                self.snapshots.add(Reference(value["metadata"], int(value["iceberg_snapshot"])))
            if set_aside := value.get(_TABLE_IN_FILE):
                self._read_file(set_aside)
            for item in value.values():
                self.read(item)
        elif isinstance(value, list):
            for item in value:
                self.read(item)
        elif isinstance(value, str):
            self.artifacts |= {"/".join(found) for found in _ARTIFACT.findall(value)}
            self.bundles |= set(_BUNDLE.findall(value))

    def _read_file(self, path: Any) -> None:
        if isinstance(path, str) and path.endswith(".json") and files.exists(path):
            self.read(files.read_json(path))


def collect(root: str) -> References:
    """All that is referred to in a run root.

    Raises `StorageError` when a registry cannot be read, or there is none although there are bundles: what it would
    refer to is not known then.
    """
    found = References()
    for run in runs.known(root):
        for entry in run["stages"]:
            found.read(entry)
            found.artifacts.add(f"{entry['stage']}/{entry['artifact']['fingerprint']}")
    for value in _endpoints(root):
        found.read(value)
    found.bundles |= {use.digest for use in records.uses(root)} | set(_registered(root))
    for digest in found.bundles:
        found._read_file(origin(files.join(root, BUNDLES, digest)))
    return found


def _endpoints(root: str) -> Iterator[Any]:
    for name in records.names(root):
        folder = files.join(root, records.FOLDER, name)
        for held in (records.ENDPOINT, _STARTED_WITH):
            if files.exists(files.join(folder, held)):
                yield files.read_json(files.join(folder, held))


def _registered(root: str) -> Iterator[str]:
    """The digests of all versions in the registries that the root's runs were entered into."""
    addresses = {tracking.tracking_uri(commands.administration(root)), *_addresses(root)}
    there = [address for address in sorted(addresses) if tracking.exists(address)]
    if not there and files.listing(files.join(root, BUNDLES)):
        raise StorageError(
            f"there is no registry at {', '.join(sorted(addresses))}, but {root} has bundles: what refers to them is not "
            "known, and nothing is freed. Set MLFLOW_TRACKING_URI to the registry of this root."
        )
    for address in there:
        known = Registry(address)
        yield from (version.digest for name in known.names() for version in known.versions(name))


def _addresses(root: str) -> Iterator[str]:
    base = files.join(root, "runs")
    for name in files.listing(base):
        path = provenance.config_file(root, name)
        if files.exists(path) and (address := runs.read_config(path)[1].get("tracking_uri")):
            yield address
