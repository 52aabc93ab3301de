"""Versioned tables: Iceberg snapshots of Parquet files, named by their content.

The tasks of a Ray Data pipeline write Parquet parts whose names are hashes of their content, so that a retried task
writes the same file again; the driver then commits all parts as one Iceberg snapshot. A `Table` points at the metadata
file and the snapshot inside it, so readers need no catalog; the catalog (SQLite in the run root by default, any
pyiceberg catalog through `RAY_MLOPS_CATALOG`) only serialises writers.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from ray_mlops.contract import ImageSchema, ImageTable, Run, Schema, Snapshot, Table
from ray_mlops.errors import DataError, StorageError
from ray_mlops.platform import catalog, files, s3
from ray_mlops.platform.content import canonical, content_hash, content_id

if TYPE_CHECKING:
    import ray.data
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

_MASK = (1 << 64) - 1


def write(
    dataset: "ray.data.Dataset",
    name: str,
    run: Run,
    *,
    data: Schema,
    sources: Mapping[str, str] | None = None,
    append: bool = False,
) -> Table:
    """Run a data set and commit its rows as one snapshot of table `name` (`namespace.table`).

    With `append` the snapshot also holds the rows of the table's current snapshot. Raises `DataError` when there are
    no rows and `StorageError` when the run root cannot be written; in both cases no snapshot is made.
    """
    snapshot = commit(_write_parts(dataset, name, run), name, run, sources=sources or {}, append=append)
    return Table(**dict(snapshot), data=data)


def write_arrow(
    table: pa.Table, name: str, run: Run, *, data: Schema, sources: Mapping[str, str] | None = None
) -> Table:
    """Commit an in-memory table as one snapshot; the same rows get the same id as through `write`."""
    entries = write_part(table, _folder(name, run)).to_pylist()
    return Table(**dict(commit(entries, name, run, sources=sources or {})), data=data)


def write_images(
    rows: "ray.data.Dataset | Iterator[pa.Table] | pa.Table",
    name: str,
    run: Run,
    *,
    data: ImageSchema,
    sources: Mapping[str, str] | None = None,
    append: bool = False,
) -> ImageTable:
    """Commit a table of images: a plan for Ray, or rows made in this process, a part after the other."""
    found = iter([rows]) if isinstance(rows, pa.Table) else rows
    entries = _write_parts(found, name, run)
    return ImageTable(**dict(commit(entries, name, run, sources=sources or {}, append=append)), data=data)


def _write_parts(rows: "ray.data.Dataset | Iterator[pa.Table]", name: str, run: Run) -> list[dict[str, Any]]:
    write = partial(write_part, folder=_folder(name, run))
    if isinstance(rows, Iterator):
        written = (entry for part in rows for entry in write(part).to_pylist())
    else:
        written = rows.map_batches(write, batch_size=None, batch_format="pyarrow").iter_rows()
    entries, count = [], 0
    for entry in written:
        entries.append(entry)
        count += entry["rows"]
        run.progress(count, 0, "rows")
    return entries


def _folder(name: str, run: Run) -> str:
    return files.join(run.root, "tables", *name.split("."), "data")


def write_part(batch: pa.Table, folder: str) -> pa.Table:
    """Write one Parquet part below `folder`; returns one row: path, rows, the sum of its row hashes, its schema."""
    batch = canonical(batch)
    if batch.num_rows == 0:
        return _entry("", 0, 0, batch.schema)
    sink = pa.BufferOutputStream()
    # A dictionary of numbers takes three times as long to write as the numbers, for a tenth of the bytes.
    texts: Any = [field.name for field in batch.schema if pa.types.is_string(field.type)]  # Arrow's stubs want a bool
    pq.write_table(batch, sink, compression="zstd", compression_level=1, use_dictionary=texts)
    content = sink.getvalue()
    path = files.join(folder, f"{hashlib.blake2b(content, digest_size=16).hexdigest()}.parquet")
    if not files.exists(path):
        files.write_bytes(path, content.to_pybytes())
    return _entry(path, batch.num_rows, content_hash(batch), batch.schema)


def _entry(path: str, rows: int, digest: int, schema: pa.Schema) -> pa.Table:
    return pa.table(
        {
            "path": [path],
            "rows": [rows],
            "hash": [f"{digest:016x}"],
            "schema": [schema.serialize().to_pybytes()],
        }
    )


def commit(
    entries: Iterable[Mapping[str, Any]],
    name: str,
    run: Run,
    *,
    sources: Mapping[str, str],
    append: bool = False,
) -> Snapshot:
    """Commit written parts as one Iceberg snapshot."""
    parts = sorted((entry for entry in entries if entry["rows"]), key=lambda entry: entry["path"])
    if not parts:
        raise DataError(f"table {name} would have no rows. Check that the source is not empty.")
    schema = pa.ipc.read_schema(pa.BufferReader(parts[0]["schema"]))
    iceberg = _open(name, run, schema)
    # A run that died between the commit and its manifest must not append the same rows once more.
    current = (_committed_by(iceberg, run) or iceberg.current_snapshot()) if append else None
    summary = current.summary.additional_properties if current and current.summary else {}
    if append and summary.get("ray-mlops.run") == run.fingerprint:
        parts = []
    rows = sum(part["rows"] for part in parts) + int(summary.get("ray-mlops.rows", 0))
    digest = (sum(int(part["hash"], 16) for part in parts) + int(summary.get("ray-mlops.hash", "0"), 16)) & _MASK
    snapshot = content_id(schema, rows, digest)
    number = _find(iceberg, snapshot)
    if number is None:
        properties = {"ray-mlops.id": snapshot, "ray-mlops.rows": str(rows), "ray-mlops.hash": f"{digest:016x}"}
        properties |= {"ray-mlops.run": run.fingerprint}
        number = _commit(iceberg, [part["path"] for part in parts], properties, append=append)
    return Snapshot(
        uri=run.uri,
        fingerprint=run.fingerprint,
        name=name,
        snapshot=snapshot,
        metadata=iceberg.metadata_location,
        iceberg_snapshot=number,
        rows=rows,
        columns=tuple(schema.names),
        sources=dict(sources),
    )


def _find(iceberg: "IcebergTable", snapshot: str) -> int | None:
    for known in iceberg.metadata.snapshots:
        if known.summary and known.summary.additional_properties.get("ray-mlops.id") == snapshot:
            return known.snapshot_id
    return None


def _committed_by(iceberg: "IcebergTable", run: Run) -> "IcebergSnapshot | None":
    for known in iceberg.metadata.snapshots:
        if known.summary and known.summary.additional_properties.get("ray-mlops.run") == run.fingerprint:
            return known
    return None


def _commit(iceberg: "IcebergTable", paths: list[str], properties: dict[str, str], *, append: bool) -> int:
    from pyiceberg.expressions import AlwaysTrue

    with iceberg.transaction() as transaction:
        if not append and iceberg.current_snapshot() is not None:
            transaction.delete(AlwaysTrue())
        transaction.add_files(paths, snapshot_properties=properties, check_duplicate_files=False)
    snapshot = iceberg.refresh().current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def _open(name: str, run: Run, schema: pa.Schema) -> "IcebergTable":
    from pyiceberg.exceptions import NoSuchTableError

    known = catalog.of(run.root)
    namespace, _, _ = name.rpartition(".")
    known.create_namespace_if_not_exists(namespace or "default")
    try:
        table = known.load_table(name)
    except (NoSuchTableError, FileNotFoundError) as error:
        if isinstance(error, FileNotFoundError):  # somebody emptied the bucket, and the catalog lies elsewhere
            known.drop_table(name)
        location = files.join(run.root, "tables", *name.split("."))
        # Concurrent writers retry rather than fail: four attempts, the default, are too few for six writers.
        properties = {"commit.retry.num-retries": "20", "write.metadata.previous-versions-max": "1000"}
        return known.create_table(name, _bare(schema), location=location, properties=properties)
    _evolve(table, schema)
    return table


def _bare(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(field.name, field.type) for field in schema])


def _evolve(table: "IcebergTable", schema: pa.Schema) -> None:
    """Add columns the table does not have yet; a column that changed its type is replaced."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    known = {field.name: field.type for field in canonical(schema_to_pyarrow(table.schema()).empty_table()).schema}
    stale = [field.name for field in schema if field.name in known and known[field.name] != field.type]
    if stale:
        with table.update_schema(allow_incompatible_changes=True) as update:
            for column in stale:
                update.delete_column(column)
    if stale or any(field.name not in known for field in schema):
        with table.update_schema() as update:
            update.union_by_name(_with_ids(schema))


def _with_ids(schema: pa.Schema) -> Any:
    from pyiceberg.io.pyarrow import _pyarrow_to_schema_without_ids  # no public way from Arrow to a schema without ids

    return _pyarrow_to_schema_without_ids(_bare(schema))


def paths(table: Snapshot) -> list[str]:
    """The Parquet files of a snapshot, sorted by name; raises `StorageError` when the snapshot is gone."""
    from pyiceberg.table import StaticTable

    try:
        iceberg = StaticTable.from_metadata(table.metadata, s3.of_iceberg())
        tasks = iceberg.scan(snapshot_id=table.iceberg_snapshot).plan_files()
    except (OSError, ValueError) as error:
        message = f"cannot read snapshot {table.snapshot} of {table.name} at {table.metadata}: {error}"
        raise StorageError(message) from error
    return sorted(task.file.file_path for task in tasks)


def load(table: Snapshot, columns: list[str] | None = None, filter: pads.Expression | None = None) -> pa.Table:
    """The rows of a snapshot in this process, without Ray; in no particular order."""
    return opened(paths(table)).to_table(columns=columns or list(table.columns), filter=filter)


def load_parts(table: Snapshot, columns: list[str], filter: pads.Expression) -> Iterator[pa.Table]:
    """The same, a file after the other."""
    for path in paths(table):
        yield opened([path]).to_table(columns=columns, filter=filter)


def opened(paths: Sequence[str]) -> pads.Dataset:
    """Parquet files as one data set of Arrow, which reads what it is asked for."""
    found = [files.filesystem(path) for path in paths]
    return pads.dataset([place for _, place in found], format="parquet", filesystem=found[0][0])


def read(table: Snapshot, columns: list[str] | None = None) -> "ray.data.Dataset":
    """The rows of a snapshot as a Ray data set: one task a part, reading `columns` of it."""
    import ray.data

    found = paths(table)
    # Our parts are block-sized already; reading them as plain tasks saves the 1.5 s that Ray's Parquet reader needs to
    # look at each footer first.
    numbers = ray.data.range(len(found), override_num_blocks=len(found))
    read_part = partial(_read_parts, paths=found, columns=columns or list(table.columns))
    return numbers.map_batches(read_part, batch_size=None, batch_format="pyarrow")


def _read_parts(batch: pa.Table, *, paths: list[str], columns: list[str]) -> pa.Table:
    return opened([paths[number] for number in batch.column("id").to_pylist()]).to_table(columns=columns)
