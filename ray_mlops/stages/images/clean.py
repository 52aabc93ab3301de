"""Clean images: decode every one; what gives no picture goes to quarantine, with reason; duplicates get one name.

Nothing is dropped: rows in = rows out + quarantined. Each part of the raw table is read twice: first to judge it, then,
when twins are known across all parts, to write it. Pictures that their EXIF orientation turns become upright PNGs;
all other files stay as they are, bit for bit. `twins` is the least key of the images that are one picture.
"""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pydantic import Field

from ray_mlops.contract import CleanImages, Frozen, ImageSchema, ImageTable, Run
from ray_mlops.errors import DataError
from ray_mlops.platform import files, tables
from ray_mlops.platform.table_parts import PART, Parts, load
from ray_mlops.vision import twins
from ray_mlops.vision.inspection import LOOK, REASON, SKETCH, inspect, misnamed, sketches
from ray_mlops.vision.upright import all_upright

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

TWINS = "twins"
_ROW = "row"
_SHOWN_REASONS = 5


class CleanConfig(Frozen):
    """When a table is too dirty to go on with, and what counts as one picture.

    A share of bad rows above `max_bad_share` fails the run. Images are near duplicates when their perceptual hashes
    differ in at most `twin_bits` of 64 bits and their sketches agree. The report shows `samples` keys per reason and as
    many clusters of twins. Up to `in_process_rows` images, where they are small, are read in this process.
    """

    max_bad_share: float = Field(default=0.05, ge=0, le=1)
    twin_bits: int = Field(default=4, ge=0, le=10)
    samples: int = Field(default=5, ge=0)
    in_process_rows: int = Field(default=100_000, ge=0)


class _Judged(NamedTuple):
    """All rows of the table by part and row: what `inspect` says, without sketches, and `twins` of the legal ones."""

    rows: pa.Table
    found: twins.Twins

    @property
    def legal(self) -> pa.Table:
        return self.rows.filter(self.rows[REASON].is_null())

    @property
    def bad(self) -> pa.Table:
        return self.rows.filter(self.rows[REASON].is_valid())


def run(config: CleanConfig, run: Run, *, table: ImageTable) -> CleanImages:
    """The images that can be used as one snapshot and the others as another.

    Raises `DataError` when too many are bad, or the others have fewer than two classes.
    """
    parts, data = Parts.of(table, config.in_process_rows), table.data
    judged = _judged(config, parts.over(partial(judge, schema=data, threads=parts.threads), run), data)
    _refuse_unusable(config, judged, table)
    legal, bad = judged.legal, judged.bad
    rows = parts.rows(partial(finish, schema=data), _packed(legal))
    cleaned = tables.write_images(rows, f"{table.name}.clean", run, data=data)
    quarantine = ""
    if bad.num_rows:
        rows = parts.rows(set_aside, _packed(bad))
        written = tables.write_images(rows, f"{table.name}.quarantine", run, data=data)
        quarantine = files.join(run.uri, "quarantine.json")
        files.write_text(quarantine, written.model_dump_json())
    report = files.join(run.uri, "clean.json")
    told = _report(config, judged, data)
    files.write_json(report, told)
    return CleanImages(
        **cleaned.model_dump(exclude={"data", "sources"}),
        data=data,
        sources=table.sources,
        rows_in=table.rows,
        quarantined=bad.num_rows,
        quarantine=quarantine,
        reasons=told["reasons"],
        twins=judged.found.exact + judged.found.near,
        report=report,
    )


def _judged(config: CleanConfig, parts: Iterable[pa.Table], schema: ImageSchema) -> _Judged:
    """All parts together: keys held against one another, and the twins among the legal rows."""
    rows = pa.concat_tables(parts).sort_by([(PART, "ascending"), (_ROW, "ascending")])
    contents = list(zip(rows["hash"].to_pylist(), rows[schema.label].to_pylist(), strict=True))
    reasons = rows[REASON].to_pylist()
    for place, why in misnamed(rows[schema.key].to_pylist(), contents).items():
        reasons[place] = f"{schema.key}: {why}"
    legal = np.array([reason is None for reason in reasons])
    chosen = rows.filter(pa.array(legal))
    keys = chosen[schema.key].to_numpy()
    looks = chosen[LOOK].to_numpy()
    found = twins.find(chosen["hash"].to_numpy(), looks, sketches(chosen[SKETCH], schema), bits=config.twin_bits)
    named = np.full(len(legal), None, object)
    named[legal] = twins.named(found.cluster, keys)
    rows = rows.drop_columns([SKETCH, REASON]).append_column(REASON, pa.array(reasons, pa.string()))
    return _Judged(rows.append_column(TWINS, pa.array(named, pa.string())), found)


def _refuse_unusable(config: CleanConfig, judged: _Judged, table: ImageTable) -> None:
    rows, bad = judged.rows.num_rows, judged.bad.num_rows
    if rows != table.rows:
        raise DataError(f"{rows:,} rows were read of {table.rows:,} in {table.name}: its files have changed.")
    if bad > config.max_bad_share * rows:
        first = dict(zip(*(judged.bad[name].to_pylist()[::-1] for name in (REASON, table.data.key)), strict=True))
        counted = list(_reasons(judged).items())[:_SHOWN_REASONS]
        top = "; ".join(f"{why} ({count:,}, as {first[why]})" for why, count in counted)
        raise DataError(
            f"{bad:,} of {rows:,} images of {table.name} ({bad / rows:.2%}) cannot be used; clean.max_bad_share is "
            f"{config.max_bad_share:.2%}. {top}. Correct the source, or raise clean.max_bad_share."
        )
    classes = pc.unique(judged.legal[table.data.label].drop_null()).to_pylist()
    if len(classes) < 2:
        seen = f"{classes[0]!r} for all" if classes else "missing in all"
        raise DataError(
            f"the label of {table.name} is {seen} {rows - bad:,} images from {', '.join(table.sources)}: there is nothing "
            "to tell apart. Check how the source gives the label; an image folder needs a directory per class."
        )


def _reasons(judged: _Judged) -> dict[str, int]:
    found = Counter(judged.bad[REASON].to_pylist())
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _report(config: CleanConfig, judged: _Judged, schema: ImageSchema) -> dict[str, Any]:
    legal, bad = judged.legal, judged.bad
    keys = [list(table[schema.key].to_pylist()) for table in (legal, bad)]
    samples: dict[str, list[str]] = {}
    for key, why in sorted(zip(keys[1], bad[REASON].to_pylist(), strict=True), key=str):
        samples.setdefault(why, []).append(key)
    labels = Counter(legal[schema.label].to_pylist())
    clusters = twins.listed(judged.found.cluster, legal[schema.key].to_numpy(), legal[schema.label].to_numpy())
    return {
        "rows_in": judged.rows.num_rows,
        "rows": legal.num_rows,
        "quarantined": bad.num_rows,
        "reasons": _reasons(judged),
        "samples": {why: found[: config.samples] for why, found in samples.items()},
        "labels": {str(label): count for label, count in sorted(labels.items(), key=str)},
        "exact_duplicates": judged.found.exact,
        "near_duplicates": judged.found.near,
        "clusters": len(clusters),
        "conflicting_clusters": sum(len(set(cluster.values())) > 1 for cluster in clusters),
        "largest_clusters": clusters[: config.samples],
    }


def _packed(judged: pa.Table) -> dict[int, dict[str, bytes]]:
    """The judged rows of each part that has any."""
    found = {}
    for number in pc.unique(judged[PART]).sort().to_pylist():
        rows, sink = judged.filter(pc.equal(judged[PART], number)), pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
        found[number] = {"judged": sink.getvalue().to_pybytes()}
    return found


# ---- of one part ---------------------------------------------------------------------------------------------------


def judge(part: pa.Table, *, schema: ImageSchema, threads: int) -> pa.Table:
    """What `inspect` says of the rows of a part, beside the number of the part and of the row."""
    found = inspect(load(part), schema, threads)
    numbers = pa.array(np.full(found.num_rows, part[PART][0].as_py()))
    return found.append_column(PART, numbers).append_column(_ROW, pa.array(np.arange(found.num_rows)))


def finish(part: pa.Table, *, schema: ImageSchema) -> pa.Table:
    """The legal rows of a part as the clean table has them."""
    rows, judged = _chosen(part)
    return all_upright(rows, schema).append_column(LOOK, judged[LOOK]).append_column(TWINS, judged[TWINS])


def set_aside(part: pa.Table) -> pa.Table:
    """The bad rows of a part with their reason."""
    rows, judged = _chosen(part)
    return rows.append_column(REASON, judged[REASON])


def _chosen(part: pa.Table) -> tuple[pa.Table, pa.Table]:
    judged = pa.ipc.open_stream(part["judged"][0].as_py()).read_all()
    return load(part).take(judged[_ROW].combine_chunks()), judged
