"""Ingest: read every source in parallel, map it onto the declared schema, and commit one snapshot of the raw table.

Nothing is judged here and nothing is lost: a value that cannot be cast and a line that cannot be read stay in the table
with their text in `_error`, for `clean` to quarantine. `ingest.json` beside the artifact tells what was read.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from ray_mlops.contract import Frozen, Run, Schema, Table
from ray_mlops.contract.names import TableName
from ray_mlops.errors import DataError
from ray_mlops.fraud.simulate import Simulator
from ray_mlops.platform import files, tables
from ray_mlops.platform.casting import ERROR, REASON, cast, unreadable_rows
from ray_mlops.platform.formats import Csv, JsonLines, Parquet, Sql
from ray_mlops.platform.lines import Lines
from ray_mlops.platform.sampling import thinned
from ray_mlops.platform.sources import INGEST_REPORT, Piece, Source
from ray_mlops.platform.user_code import by_value

_TASK_BYTES = 16 << 20

AnySource = Annotated[Parquet | Csv | JsonLines | Sql | Simulator, Field(discriminator="kind")]


class IngestConfig(Frozen):
    """What to read and into which table.

    Several sources, of any kinds, are mapped onto the one schema. `replace` makes a snapshot of what is read now;
    `append` one that also holds the rows of the table's newest snapshot. Older snapshots stay readable. `sample` keeps a
    share of the rows, chosen by their keys; all are read, and `ingest.json` tells of all.
    """

    data: Schema
    sources: tuple[AnySource, ...] = Field(min_length=1)
    name: TableName = Field(default="fraud.transactions", pattern=r"^[^.]+(\.[^.]+)+$")
    mode: Literal["replace", "append"] = "replace"
    sample: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _names_are_clear(self) -> "IngestConfig":
        if taken := {ERROR, REASON} & set(self.data.names):
            raise ValueError(f"a column cannot be called {min(taken)}: the quarantine uses that name. Rename it.")
        for source in self.sources:
            targets = list(source.rename.values())
            if unknown := [target for target in targets if target not in self.data.names]:
                raise ValueError(f"rename maps to {unknown[0]!r}, which is not declared: {', '.join(self.data.names)}")
            if doubled := [target for target in targets if targets.count(target) > 1]:
                raise ValueError(f"rename maps two columns to {doubled[0]!r}")
        return self


class _Share(NamedTuple):
    source: Source
    piece: Piece


class _Tally(NamedTuple):
    """What one piece held; `first` and `last` are its outer event times in microseconds."""

    label: str
    rows: int = 0
    unreadable: int = 0
    uncast: int = 0
    converted: int = 0
    out_of_order: int = 0
    first: int | None = None
    last: int | None = None


def identity(config: IngestConfig) -> Mapping[str, str]:
    """Name and content digest of everything that would be read: what the fingerprint of the table depends on."""
    return {name: digest for source in config.sources for name, digest in source.identity().items()}


def run(config: IngestConfig, run: Run) -> Table:
    """Read the sources into a new snapshot; raises `DataError` when one is missing, unreadable or lacks a column."""
    import ray.data

    shares = [_Share(source, piece) for source in config.sources for piece in source.pieces(config.data)]
    if not shares:
        raise DataError(f"{', '.join(identity(config))}: there are no rows to read into {config.name}.")
    tasks = _packed(shares)
    folder = files.join(run.uri, "read")
    numbers = ray.data.range(len(tasks), override_num_blocks=len(tasks))
    rows = numbers.map_batches(
        partial(_read, tasks=tasks, schema=config.data, folder=folder, sample=config.sample),
        batch_size=None,
        batch_format="pyarrow",
    )
    append = config.mode == "append"
    with by_value(*(source.transform for source in config.sources if source.transform)):
        table = tables.write(rows, config.name, run, data=config.data, sources=identity(config), append=append)
    tallies = [_Tally(**tally) for number in range(len(tasks)) for tally in files.read_json(_path(folder, number))]
    files.write_json(files.join(run.uri, INGEST_REPORT), _report(tallies))
    files.remove(folder)
    return table


def _packed(shares: Sequence[_Share]) -> list[list[_Share]]:
    """Neighbouring pieces together until a task is worth starting: the same tasks on any number of cores."""
    tasks: list[list[_Share]] = [[]]
    size = 0
    for share in shares:
        if tasks[-1] and size + share.piece.size > _TASK_BYTES:
            tasks.append([])
            size = 0
        tasks[-1].append(share)
        size += share.piece.size
    return tasks


def _read(
    batch: pa.Table, *, tasks: list[list[_Share]], schema: Schema, folder: str, sample: float
) -> Iterator[pa.Table]:
    for number in batch.column("id").to_pylist():
        tallies = []
        for source, piece in tasks[number]:
            tally = _Tally(piece.label)
            for lines in piece.read():
                table, tally = _typed(lines, source, schema, tally=tally)
                yield thinned(table, schema.key, sample)
            tallies.append(tally._asdict())
        # A task that is run again writes the same file again.
        files.write_json(_path(folder, number), tallies)


def _path(folder: str, number: int) -> str:
    return files.join(folder, f"{number:06d}.json")


def _typed(lines: Lines, source: Source, schema: Schema, *, tally: _Tally) -> tuple[pa.Table, _Tally]:
    """Rows in the declared types, the lines that are no rows after them; and the tally with both."""
    clock = source.clock(schema)
    mapped = source.mapped(lines.table, schema, tally.label)
    table = cast(mapped, schema, clock)
    tally = _counted(tally, table, schema)._replace(
        rows=tally.rows + table.num_rows + len(lines.bad),
        unreadable=tally.unreadable + len(lines.bad),
        converted=tally.converted + clock.conversions(mapped.column(schema.time)),
    )
    return (pa.concat_tables([table, unreadable_rows(lines.bad, schema)]) if lines.bad else table), tally


def _counted(tally: _Tally, table: pa.Table, schema: Schema) -> _Tally:
    times = table.column(schema.time).drop_null().cast(pa.int64()).to_numpy()
    uncast = tally.uncast + table.num_rows - table.column(ERROR).null_count
    if not len(times):
        return tally._replace(uncast=uncast)
    before = times[:1] if tally.last is None else np.array([tally.last])
    steps = np.diff(np.concatenate([before, times]))
    return tally._replace(
        uncast=uncast,
        out_of_order=tally.out_of_order + int((steps < 0).sum()),
        first=int(times[0]) if tally.first is None else tally.first,
        last=int(times[-1]),
    )


def _report(tallies: Sequence[_Tally]) -> dict[str, Any]:
    """Totals, and rows per file or query; a row is out of order when it is earlier than the one before in its file."""
    seams = sum(
        left.label == right.label and left.last is not None and right.first is not None and right.first < left.last
        for left, right in pairwise(tallies)
    )
    rows: dict[str, int] = {}
    for tally in tallies:
        rows[tally.label] = rows.get(tally.label, 0) + tally.rows
    return {
        "rows": sum(rows.values()),
        "unreadable_lines": sum(tally.unreadable for tally in tallies),
        "rows_with_uncast_values": sum(tally.uncast for tally in tallies),
        "time_zone_conversions": sum(tally.converted for tally in tallies),
        "out_of_order": seams + sum(tally.out_of_order for tally in tallies),
        "sources": rows,
    }
