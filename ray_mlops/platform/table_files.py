"""The files behind the snapshots of a run root's tables: which of them are needed, and letting go of snapshots.

Paths are told from the folder `tables` of the root on, whatever the root was called when they were written.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ray_mlops.errors import StorageError
from ray_mlops.platform import catalog, s3

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

FOLDER = "tables"


class Reference(NamedTuple):
    """What an artifact says of the snapshot that it reads: the metadata file and the snapshot inside."""

    metadata: str
    snapshot: int


def below(uri: str) -> str:
    """A path from the folder of the tables on."""
    return uri.rpartition(f"/{FOLDER}/")[2]


class Tables:
    """The tables of a run root that this machine's catalog knows."""

    def __init__(self, root: str) -> None:
        self._catalog = catalog.of(root)

    def names(self) -> tuple[str, ...]:
        """Their names, `namespace.table`."""
        known = self._catalog
        return tuple(".".join(name) for namespace in known.list_namespaces() for name in known.list_tables(namespace))

    def superfluous(self, name: str, kept: AbstractSet[Reference], before: datetime) -> list[int]:
        """The snapshots made before a moment that nothing refers to; the newest, which appending goes on from, is none."""
        iceberg = self._catalog.load_table(name)
        wanted = {one.snapshot for one in kept} | {iceberg.metadata.current_snapshot_id}
        moment = int(before.timestamp() * 1000)
        return [
            one.snapshot_id
            for one in iceberg.metadata.snapshots
            if one.snapshot_id not in wanted and one.timestamp_ms < moment
        ]

    def expire(self, name: str, snapshots: list[int]) -> None:
        """Let go of snapshots, so that no writer goes on from them; their files are still there."""
        if snapshots:
            self._catalog.load_table(name).maintenance.expire_snapshots().by_ids(snapshots).commit()

    def needed(self, name: str, kept: AbstractSet[Reference], expired: AbstractSet[int] = frozenset()) -> set[str]:
        """The files of the table that its snapshots, without `expired`, or what is referred to is made of.

        Raises `StorageError` when the files of a snapshot cannot be told.
        """
        iceberg = self._catalog.load_table(name)
        own = {below(one.metadata) for one in kept} | {below(iceberg.metadata_location)}
        known = {one.snapshot_id: one for one in iceberg.metadata.snapshots if one.snapshot_id not in expired}
        lost = [one for one in kept if one.snapshot not in known and _is_of(iceberg, one)]
        try:
            for one in known.values():
                own |= set(_files(one, iceberg.io))
            for reference in lost:
                own |= _of_reference(reference)
        except (OSError, ValueError) as error:
            raise StorageError(f"the files of table {name} cannot be told: {error}. Nothing of it is freed.") from error
        return own


def _is_of(iceberg: "IcebergTable", reference: Reference) -> bool:
    return below(reference.metadata).startswith(f"{below(iceberg.metadata.location)}/")


def _files(snapshot: "IcebergSnapshot", io: Any) -> Iterator[str]:
    yield below(snapshot.manifest_list)
    for manifest in snapshot.manifests(io):
        yield below(manifest.manifest_path)
        yield from (below(entry.data_file.file_path) for entry in manifest.fetch_manifest_entry(io))


def _of_reference(reference: Reference) -> set[str]:
    from pyiceberg.table import StaticTable

    iceberg = StaticTable.from_metadata(reference.metadata, s3.of_iceberg())
    found = iceberg.snapshot_by_id(reference.snapshot)
    return set(_files(found, iceberg.io)) if found else set()
