"""Content digests of very many files, remembered: only a file whose size or time of change differs is read again.

It is what a version control system does with its index. The digest stays one of the content, so that a data set copied
elsewhere, or written again with the same bytes, has the same identity; the times only save reading it once more.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ray_mlops.errors import StorageError
from ray_mlops.platform import files
from ray_mlops.platform.inputs import InputFile, digests
from ray_mlops.platform.runtime import home

_SETTLED_NS = 2_000_000_000
"""A file changed later than this before it was read may change again without its time telling (stores count seconds)."""

Known = Mapping[tuple[str, int, int], str]


def folder_digest(place: str, found: Sequence[InputFile]) -> str:
    """One digest of the names below `place` and the contents of its files; `DataError` when one cannot be read."""
    known = content_digests(place, found)
    whole = hashlib.blake2b(digest_size=16)
    for label in sorted(known):
        whole.update(f"{label.removeprefix(place)}\0{known[label]}\n".encode())
    return whole.hexdigest()


def content_digests(place: str, found: Sequence[InputFile]) -> dict[str, str]:
    """Label to content digest, read where it is not known of this size and time; `place` names the index."""
    index = home() / "cache" / f"digests-{hashlib.blake2b(place.encode(), digest_size=8).hexdigest()}.parquet"
    known, now = _load(index), time.time_ns()
    fresh = digests([file for file in found if (file.label, file.size, file.changed) not in known])
    result = {file.label: fresh.get(file.label) or known[(file.label, file.size, file.changed)] for file in found}
    if fresh:
        _save(index, [file for file in found if 0 < file.changed < now - _SETTLED_NS], result)
    return result


def _load(index: Path) -> Known:
    """What an earlier run saw; nothing when it cannot be read, which only costs time."""
    try:
        rows = pq.read_table(index)
        keys = zip(*(rows.column(name).to_pylist() for name in ("label", "size", "changed")), strict=True)
        return dict(zip(keys, rows.column("digest").to_pylist(), strict=True))
    except (OSError, pa.ArrowException, KeyError):
        return {}


def _save(index: Path, found: Sequence[InputFile], known: Mapping[str, str]) -> None:
    columns = {
        "label": pa.array([file.label for file in found], pa.string()),
        "size": pa.array([file.size for file in found], pa.int64()),
        "changed": pa.array([file.changed for file in found], pa.int64()),
        "digest": pa.array([known[file.label] for file in found], pa.string()),
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    with suppress(StorageError):
        files.write_bytes(str(index), sink.getvalue().to_pybytes())
