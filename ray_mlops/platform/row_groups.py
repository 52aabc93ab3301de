"""Parquet files by row group: the footer tells what is there, each row group is read on its own."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from ray_mlops.errors import DataError
from ray_mlops.platform import files
from ray_mlops.platform.inputs import InputFile
from ray_mlops.platform.lines import Lines

_BATCH_ROWS = 1 << 18


def footer(file: InputFile) -> pq.FileMetaData:
    """The metadata of a file; raises `DataError` when it is truncated or no Parquet file."""
    try:
        with pq.ParquetFile(file.filesystem.open_input_file(file.path)) as opened:
            return opened.metadata
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def read(file: InputFile, columns: Sequence[str] | None, group: int) -> Iterator[Lines]:
    """The rows of one row group, in order."""
    names = None if columns is None else list(columns)
    try:
        with pq.ParquetFile(file.filesystem.open_input_file(file.path)) as opened:
            for batch in opened.iter_batches(_BATCH_ROWS, row_groups=[group], columns=names, use_threads=False):
                yield Lines(pa.Table.from_batches([batch]), [])
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def write(table: pa.Table, uri: str) -> None:
    """Write a file, local or on `s3://`, visible either whole or not at all; raises `StorageError`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    files.write_bytes(files.absolute(uri), sink.getvalue().to_pybytes())


def _unreadable(file: InputFile, error: Exception) -> DataError:
    reason = str(error).splitlines()[0]
    return DataError(f"{file.label} is not a readable Parquet file: {reason}. It may be truncated: write it again.")
