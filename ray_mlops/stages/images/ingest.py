"""Ingest images: read every source in parallel and commit one snapshot of the raw table.

A row is a file as it is: key, bytes, label, group, the size its header claims, the hash of its bytes. Nothing is judged
here and nothing is lost: what is no picture becomes a row too. `ingest.json` beside the artifact tells what was read.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from ray_mlops.contract import Frozen, ImageSchema, ImageTable, Run
from ray_mlops.contract.names import TableName
from ray_mlops.errors import DataError
from ray_mlops.platform import files, tables
from ray_mlops.platform.sampling import thinned
from ray_mlops.vision.pieces import AnyImageSource, packed, unpacked
from ray_mlops.vision.sources import PIECE_BYTES, Piece, Sample, rows

INGEST_REPORT = "ingest.json"
_HERE_BYTES = 512 << 20
"""Less than this is read in this process: it takes less time than a task needs to start."""
_BLOCK_BYTES = 16 << 20
_ROW_BYTES = 256


class IngestConfig(Frozen):
    """What to read and into which table.

    Several sources, of any kinds, go into the one table. `replace` makes a snapshot of what is read now; `append` one
    that also holds the rows of the table's newest snapshot. Older snapshots stay readable. `sample` keeps a share of the
    images, chosen by their keys; all are read, and `ingest.json` tells of all.
    """

    data: ImageSchema = ImageSchema()
    sources: tuple[AnyImageSource, ...] = Field(min_length=1)
    name: TableName = Field(default="vision.images", pattern=r"^[^.]+(\.[^.]+)+$")
    mode: Literal["replace", "append"] = "replace"
    sample: float = Field(default=1.0, gt=0, le=1)


def identity(config: IngestConfig) -> Mapping[str, str]:
    """Name and content digest of everything that would be read: what the fingerprint of the table depends on."""
    return {name: digest for source in config.sources for name, digest in source.identity().items()}


def run(config: IngestConfig, run: Run) -> ImageTable:
    """Read the sources into a new snapshot; raises `DataError` when one is missing or unreadable."""
    pieces = [piece for source in config.sources for piece in source.pieces()]
    if not pieces:
        raise DataError(f"{', '.join(identity(config))}: there are no images to read into {config.name}.")
    tasks, folder = _packed(pieces), files.join(run.uri, "read")
    read = partial(_read, schema=config.data, folder=folder, sample=config.sample)
    found = (
        (table for task in tasks for table in read(task))
        if sum(piece.size for piece in pieces) <= _HERE_BYTES
        else _on_cluster(tasks).map_batches(read, batch_size=None, batch_format="pyarrow")
    )
    append = config.mode == "append"
    table = tables.write_images(found, config.name, run, data=config.data, sources=identity(config), append=append)
    tallies = [tally for name in files.listing(folder) for tally in files.read_json(files.join(folder, name))]
    files.write_json(files.join(run.uri, INGEST_REPORT), _report(tallies))
    files.remove(folder)
    return table


def _packed(pieces: Sequence[Piece]) -> list[pa.Table]:
    """Neighbouring pieces together until a task is worth starting: the same tasks on any number of cores."""
    tasks: list[list[Piece]] = [[]]
    for piece in pieces:
        if tasks[-1] and sum(known.size for known in tasks[-1]) + piece.size > PIECE_BYTES:
            tasks.append([])
        tasks[-1].append(piece)
    return [pa.table({"task": [number], "pieces": [packed(task)]}) for number, task in enumerate(tasks)]


def _on_cluster(tasks: Sequence[pa.Table]) -> Any:
    """A block a task, each with its own list of files only: of a million files no task needs all names."""
    import ray.data

    return ray.data.from_arrow(list(tasks))


def _read(batch: pa.Table, *, schema: ImageSchema, folder: str, sample: float) -> Iterator[pa.Table]:
    names = (schema.key, schema.image, schema.label, schema.group)
    for task in batch.to_pylist():
        tallies = []
        for piece in unpacked(task["pieces"]):
            tally = _Tally(piece.place)
            for samples in _blocks(piece.read()):
                table = rows(samples, names)
                tally.add(samples, table)
                yield thinned(table, schema.key, sample)
            tallies.append(tally.told())
        # A task that is run again writes the same file again.
        files.write_json(files.join(folder, f"{task['task']:06d}.json"), tallies)


def _blocks(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    """Samples together until a block is worth making."""
    block, size = [], 0
    for sample in samples:
        block.append(sample)
        size += len(sample.image or b"") + _ROW_BYTES
        if size >= _BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


class _Tally:
    """What one piece held."""

    def __init__(self, place: str) -> None:
        self.counts = Counter(rows=0, bytes=0, missing=0, unreadable=0, unlabelled=0)
        self.place, self.labels = place, Counter()

    def add(self, samples: Sequence[Sample], table: pa.Table) -> None:
        """Count a block."""
        missing = sum(sample.image is None for sample in samples)
        self.counts["rows"] += len(samples)
        self.counts["bytes"] += sum(len(sample.image or b"") for sample in samples)
        self.counts["missing"] += missing
        self.counts["unreadable"] += table.column("width").null_count - missing
        self.labels.update(sample.label for sample in samples if sample.label is not None)
        self.counts["unlabelled"] = self.counts["rows"] - self.labels.total()

    def told(self) -> dict[str, Any]:
        """The tally as JSON."""
        return {"place": self.place, "counts": dict(self.counts), "labels": dict(self.labels)}


def _report(tallies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Totals, and rows per source and per label as the source has it."""
    counts, labels, places = Counter(), Counter(), Counter()
    for tally in tallies:
        counts.update(tally["counts"])
        labels.update(tally["labels"])
        places[tally["place"]] += tally["counts"]["rows"]
    return {**counts, "labels": dict(sorted(labels.items())), "sources": dict(places)}
