"""Closed segments of a log of lines become Parquet files: one a day, or several where a day is larger than one holds.

A Parquet file has each line as it was written, and beside it what is asked for most as columns, the same for all versions of
a model, so that a folder is one table: `duckdb -c "select decision, count(*) from 'capture/*.parquet' group by 1"`. What a
line says besides is in its JSON: `line->>'$.features.amount'`.

Killed anywhere, nothing is lost and nothing doubled: the file is written under another name and gets its own by one rename,
with which its segments count as compacted (`segments`); what was left undone the next compaction does.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
from pyarrow import parquet

from ray_mlops.errors import StorageError
from ray_mlops.platform.segments import HELD, LINE, Read, found_within, locked

MOST_BYTES = 512 << 20  # of lines in a Parquet file
_UNFINISHED = ".compacting-"
_ROWS_AT_ONCE = 5_000


class Compacted(NamedTuple):
    """What has been compacted: `segments` of `bytes` with `lines` into `files`."""

    segments: int = 0
    lines: int = 0
    bytes: int = 0
    files: tuple[str, ...] = ()


def compact(folder: str, *, today: date | None = None, most_bytes: int = MOST_BYTES) -> Compacted:
    """Compact the closed segments of days before `today` (UTC), and of any day as many as fill a file of `most_bytes`.

    Others may append and read meanwhile; a reader waits for the file that is being made. Raises `StorageError` when a file
    cannot be written, as on a full disk: the log is as it was.
    """
    today, total = today or datetime.now(UTC).date(), Compacted()
    if not Path(folder).is_dir():
        return total
    try:
        while True:
            with locked(folder, fcntl.LOCK_EX):
                _tidy(folder)
                group = next(_due(folder, today, most_bytes), None)
                if group is None:
                    return total
                path, held = _write(Path(folder), *group)
                _remove(Path(folder) / name for name in held)
            counts = [sum(size.bytes for size in held.values()), sum(size.lines for size in held.values())]
            total = Compacted(
                total.segments + len(held), total.lines + counts[1], total.bytes + counts[0], (*total.files, path.name)
            )
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"cannot compact the log in {folder}: {error}. It is as it was; check free space and permissions."
        ) from error


def _tidy(folder: str) -> None:
    """Finish what another compaction left when it was killed."""
    _remove(Path(folder).glob(f"{_UNFINISHED}*"))
    done = {name for held in found_within(folder).compacted.values() for name in held}
    _remove(path for path in Path(folder).glob("*.jsonl") if path.name in done)


def _due(folder: str, today: date, most_bytes: int) -> Iterator[tuple[date, list[Path]]]:
    """Groups of closed segments that make a file, each with its day."""
    days: dict[date, list[Path]] = {}
    for path in found_within(folder).open:
        if _is_closed(path):
            days.setdefault(datetime.fromtimestamp(path.stat().st_mtime, UTC).date(), []).append(path)
    for day, paths in sorted(days.items()):
        for group in _filled(paths, most_bytes):
            if day < today or sum(path.stat().st_size for path in group) >= most_bytes:
                yield day, group


def _filled(paths: Sequence[Path], most_bytes: int) -> Iterator[list[Path]]:
    group, size = [], 0
    for path in paths:
        group.append(path)
        size += path.stat().st_size
        if size >= most_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


def _is_closed(path: Path) -> bool:
    """Whether nobody appends to a segment any more: whoever does has locked it (`serving.appender`)."""
    with path.open("rb") as file:
        try:
            fcntl.flock(
                file, fcntl.LOCK_SH | fcntl.LOCK_NB
            )  # an exclusive one would need a file open for writing on NFS
        except BlockingIOError:
            return False
    return True


def _write(folder: Path, day: date, paths: Sequence[Path]) -> tuple[Path, dict[str, Read]]:
    """Have the segments in one Parquet file, which is on the disk before it gets its name; it, and what it holds."""
    key = hashlib.blake2b("\n".join(path.name for path in paths).encode(), digest_size=6).hexdigest()
    hidden, target = folder / f"{_UNFINISHED}{key}.parquet", folder / f"{day:%Y-%m-%d}-{key}.parquet"
    try:
        held = _fill(hidden, paths)
    except BaseException:  # a disk that is full needs the room
        hidden.unlink(missing_ok=True)
        raise
    hidden.rename(target)
    _sync(folder)
    return target, held


def _fill(hidden: Path, paths: Sequence[Path]) -> dict[str, Read]:
    held: dict[str, Read] = {}
    with os.fdopen(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        with parquet.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
            for path in paths:
                held[path.name] = _append(writer, path)
            writer.add_key_value_metadata({HELD.decode(): json.dumps(held)})
        file.flush()
        os.fsync(file.fileno())
    return held


def _append(writer: parquet.ParquetWriter, path: Path) -> Read:
    """All lines of a segment; what is no line of a request is kept as it is."""
    count = 0
    with path.open("rb") as file:
        while part := [line.removesuffix(b"\n") for line in islice(file, _ROWS_AT_ONCE)]:
            count += len(part)
            records = [_record(line) for line in part]
            columns = [pa.array([read(record.get(name)) for record in records], kind) for name, kind, read in _COLUMNS]
            writer.write_table(pa.table([*columns, pa.array(part, pa.binary())], schema=_SCHEMA))
        return Read(file.tell(), count)


def _record(line: bytes) -> Mapping[str, Any]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return record if isinstance(record, dict) else {}


def _remove(paths: Iterator[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, int | float) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


_TEXT = pa.dictionary(pa.int32(), pa.string())
_COLUMNS: tuple[tuple[str, pa.DataType, Callable[[Any], Any]], ...] = (
    ("time", pa.timestamp("us", "UTC"), _moment),
    ("kind", _TEXT, _text),
    ("id", pa.string(), _text),
    ("request_id", pa.string(), _text),
    ("version", _TEXT, _text),
    ("digest", _TEXT, _text),
    ("degraded", _TEXT, _text),
    ("decision", _TEXT, _text),
    ("score", pa.float64(), _number),
    ("probability", pa.float64(), _number),
)
_SCHEMA = pa.schema([*((name, kind) for name, kind, _ in _COLUMNS), (LINE, pa.binary())])
