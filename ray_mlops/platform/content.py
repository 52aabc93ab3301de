"""The identity of rows: canonical types, and a hash that no order and no partition changes."""

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

ARROW_TYPES: Mapping[str, pa.DataType] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def canonical(batch: pa.Table) -> pa.Table:
    """The batch with the types tables use: UTC microseconds, `string`, no dictionaries, no schema metadata."""
    fields = [pa.field(field.name, _canonical_type(field.type)) for field in batch.schema]
    return batch.cast(pa.schema(fields)).combine_chunks()


def plain_strings(batch: pa.Table) -> pa.Table:
    """The batch with every kind of string column as `string`, the one most compute functions take."""
    kinds = [field.type if pa.types.is_timestamp(field.type) else _canonical_type(field.type) for field in batch.schema]
    return batch.cast(pa.schema([pa.field(field.name, kind) for field, kind in zip(batch.schema, kinds, strict=True)]))


def _canonical_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _canonical_type(kind.value_type)
    if pa.types.is_timestamp(kind):
        return ARROW_TYPES["timestamp"]
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return pa.string()
    return kind


def content_hash(batch: pa.Table) -> int:
    """Sum modulo 2^64 of a hash per row: the same for the same rows in any order and any partition."""
    from pandas.util import hash_array

    total = np.zeros(batch.num_rows, dtype=np.uint64)
    for position, name in enumerate(sorted(batch.column_names)):
        column = batch.column(name)
        valid = (~column.is_null().to_numpy()).astype(np.uint64)
        # pandas hashes 0 to 0, which is kept for null: every other value is moved away from it.
        hashed = hash_array(_hashable(column))  # pyright: ignore[reportCallIssue]  pandas loads it lazily, untyped
        hashed = (hashed + np.uint64(0xD1B54A32D192ED03)) * valid
        # Each column gets its own odd factor, so that swapping two columns' values changes the row's hash.
        mixed = (total ^ (hashed >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
        total = mixed + hashed * np.uint64(2 * position + 3)
    total ^= total >> np.uint64(31)
    return int((total * np.uint64(0xBF58476D1CE4E5B9)).sum(dtype=np.uint64))


def _hashable(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        return column.fill_null("" if pa.types.is_string(column.type) else b"").to_numpy().astype(object)
    return column.fill_null(False if pa.types.is_boolean(column.type) else 0).to_numpy()


def content_id(schema: pa.Schema, rows: int, digest: int) -> str:
    """The identity of a snapshot: its columns and types, its number of rows, and the sum of its row hashes."""
    described = ";".join(f"{field.name}:{field.type}" for field in sorted(schema, key=lambda field: field.name))
    return hashlib.blake2b(f"{described}|{rows}|{digest:016x}".encode(), digest_size=12).hexdigest()
