"""Logs of lines in segments: what is appended to, and what has been compacted to Parquet, read alike.

A folder holds segments `<name>.jsonl`, each locked by the process that appends to it, and `<name>.parquet` files, each of
which holds segments that are closed (`compaction`). A Parquet file tells in its metadata which segments it holds; a segment
that is still there beside it is not read again. Readers and the compaction lock the folder against one another, so that
nothing is read twice or missed, whenever either of them is killed.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import parquet

from ray_mlops.errors import StorageError

LINE = "line"  # the column of a Parquet file with the lines as they were written
HELD = b"ray_mlops.segments"  # the metadata of a Parquet file that names its segments, in order: {name: [bytes, lines]}
_ROWS_AT_ONCE = 10_000
_TAIL_BYTES = 16 << 20


class Read(NamedTuple):
    """How much of a segment has been read: `bytes` of the segment as it was appended to, `lines` of it in either form."""

    bytes: int = 0
    lines: int = 0


class Segments(NamedTuple):
    """What a folder holds: segments that are appended to or wait to be compacted, and Parquet files with what they hold."""

    open: list[Path]
    compacted: dict[Path, dict[str, Read]]

    @property
    def names(self) -> list[str]:
        """The names of all files."""
        return [path.name for path in (*self.compacted, *self.open)]


def found(folder: str) -> Segments:
    """What there is; an absent folder holds nothing. Raises `StorageError` for a damaged Parquet file."""
    with locked(folder, fcntl.LOCK_SH):
        return found_within(folder)


def identity(folder: str) -> str:
    """Names the content: it changes with every line, and not when lines are compacted."""
    there = found(folder)
    sizes = {path.name: path.stat().st_size for path in there.open}
    sizes |= {name: size.bytes for held in there.compacted.values() for name, size in held.items()}
    return ";".join(f"{name}:{size}" for name, size in sorted(sizes.items()))


def lines(folder: str, since: Mapping[str, Read] | None = None, *, after: float = 0.0) -> Iterator[tuple[str, bytes]]:
    """Every line with the name of its segment, segment by segment, from where each had been read to; of the files that have
    been written to `after` a moment (seconds since the epoch).

    A line ends with a line break, but for one that is being written or at which a writer was killed.
    """
    since = since or {}
    with locked(folder, fcntl.LOCK_SH):
        there = found_within(folder)
        for path, held in there.compacted.items():
            unread = any(since.get(name, Read()).lines < size.lines for name, size in held.items())
            if unread and path.stat().st_mtime >= after:
                yield from _compacted(path, held, since)
        for path in there.open:
            if path.stat().st_mtime < after:
                continue
            with path.open("rb") as file:
                file.seek(since.get(path.name, Read()).bytes)
                for line in file:
                    yield path.name, line


def latest(folder: str, most: int) -> list[bytes]:
    """Up to `most` whole lines of the newest file that has any, in their order."""
    with locked(folder, fcntl.LOCK_SH):
        there = found_within(folder)
        for path in sorted([*there.open, *there.compacted], key=lambda path: path.stat().st_mtime, reverse=True):
            if kept := (_last_rows if path in there.compacted else _last_lines)(path, most):
                return kept
    return []


@contextmanager
def locked(folder: str, kind: int) -> Iterator[None]:
    """With the folder locked: LOCK_SH to read, LOCK_EX to compact. The lock ends with its process, however that ends."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)


def found_within(folder: str) -> Segments:
    """`found`, for who has locked the folder."""
    compacted = {path: held_by(path) for path in _visible(folder, "*.parquet")}
    done = {name for held in compacted.values() for name in held}
    return Segments([path for path in _visible(folder, "*.jsonl") if path.name not in done], compacted)


def held_by(path: Path) -> dict[str, Read]:
    """The segments in a Parquet file."""
    try:
        told = json.loads((parquet.read_metadata(path).metadata or {})[HELD])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise StorageError(
            f"{path} is damaged, or no part of this log: {error}. Move it away; the lines that it holds are lost."
        ) from error
    return {name: Read(*sizes) for name, sizes in told.items()}


def _visible(folder: str, pattern: str) -> list[Path]:
    """What begins with a dot is being made."""
    return sorted(path for path in Path(folder).glob(pattern) if not path.name.startswith("."))


def _compacted(path: Path, held: Mapping[str, Read], since: Mapping[str, Read]) -> Iterator[tuple[str, bytes]]:
    rows = _rows(path)
    for name, size in held.items():
        read = since.get(name, Read()).lines
        for number in range(size.lines):
            line = next(rows)
            if number >= read:
                yield name, line + b"\n"


def _rows(path: Path) -> Iterator[bytes]:
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[LINE]):
            yield from batch.column(0).to_pylist()


def _last_rows(path: Path, most: int) -> list[bytes]:
    kept: list[bytes] = []
    with parquet.ParquetFile(path) as file:
        for group in reversed(range(file.num_row_groups)):
            kept = file.read_row_group(group, columns=[LINE]).column(0).to_pylist() + kept
            if len(kept) >= most:
                break
    return kept[-most:]


def _last_lines(path: Path, most: int) -> list[bytes]:
    start = max(0, path.stat().st_size - _TAIL_BYTES)
    with path.open("rb") as file:
        file.seek(start)
        found = file.read().split(b"\n")
    return found[1 if start else 0 : -1][-most:]
