"""Analyse: one pass over the clean table, told as JSON and as a page."""

import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from ray_mlops.contract import Frozen, Profile, Run, Table
from ray_mlops.fraud.leak_sample import Draw, Sample
from ray_mlops.fraud.leaks import Limits, leak_checks
from ray_mlops.monitoring.findings import findings
from ray_mlops.monitoring.packing import packed, unpacked
from ray_mlops.monitoring.profile import Plan, TablePart
from ray_mlops.platform import files, tables
from ray_mlops.reports.page import render
from ray_mlops.reports.profile_page import profile_page

MERGED_AT_ONCE = 16
FOOTER_READERS = 16


class AnalyseConfig(Frozen):
    """A column whose ROC AUC or average precision alone reaches `leak_power` is reported as a leak; `leaks` says from where
    on the other checks warn."""

    leak_power: float = Field(default=0.999, gt=0.5, le=1.0)
    leaks: Limits = Limits()


def run(config: AnalyseConfig, run: Run, *, table: Table) -> Profile:
    """Profile a table; writes `profile.json` and `report.html`."""
    plan = Plan(table.data, offsets=least_values(table))
    part, sample = collect(table, plan, run)
    found = findings(part, plan, leak_power=config.leak_power)
    found["checks"] = leak_checks(sample, found["days"], table.data, config.leaks, seed=run.seed)
    report = files.join(run.uri, "report.html")
    files.write_json(files.join(run.uri, "profile.json"), found)
    page = profile_page(found, title="Data profile", subtitle=f"{table.name}, snapshot {table.snapshot}")
    files.write_text(report, render(page))
    return Profile(
        uri=run.uri,
        fingerprint=run.fingerprint,
        report=report,
        rows=found["rows"],
        positives=found["positives"],
        leaks=tuple(found["leaks"]),
        warnings=tuple(found["checks"]["warnings"]),
    )


def collect(table: Table, plan: Plan, run: Run) -> tuple[TablePart, Sample]:
    """The statistics of all rows, and a sample of them: one partial per block on the cluster, merged here as they come."""
    draw = Draw(table.data, table.rows)
    blocks = tables.read(table, list(table.data.names)).map_batches(
        partial(describe, plan=plan, draw=draw), batch_size=None, batch_format="pyarrow"
    )
    waiting: list[TablePart] = []
    samples: list[Sample] = []
    for found, drawn in _parts(blocks.iter_batches(batch_size=None, batch_format="pyarrow")):
        waiting.append(found)
        samples.append(drawn)
        if len(waiting) == MERGED_AT_ONCE:
            waiting = [TablePart.merged(waiting)]
        run.progress(sum(known.rows for known in waiting), table.rows, "rows")
    sample = Sample.merged(samples)
    order = [(table.data.time, "ascending"), (table.data.key, "ascending")]
    return TablePart.merged(waiting), Sample(sample.rows.sort_by(order), sample.entities)


def describe(batch: pa.Table, plan: Plan, draw: Draw) -> pa.Table:
    """One row holding the statistics of a block and a sample of it; no row for an empty block."""
    found = [packed(TablePart.of(batch, plan))] if batch.num_rows else []
    drawn = [draw(batch).to_ipc()] if batch.num_rows else []
    sample = pa.array(drawn, pa.list_(pa.large_binary()))
    return pa.table({"part": pa.array(found, pa.large_binary()), "sample": sample})


def least_values(table: Table) -> Mapping[str, float]:
    """The least finite value of each numeric column, from the footers of the files, where they tell it."""
    names = frozenset(column.name for column in table.data.columns if column.type in ("int64", "float64"))
    with ThreadPoolExecutor(FOOTER_READERS) as readers:
        footers = list(readers.map(partial(_least, names=names), tables.paths(table)))
    return {name: min(known) for name in names if (known := [low[name] for low in footers if name in low])}


def _least(path: str, names: frozenset[str]) -> dict[str, float]:
    filesystem, place = files.filesystem(path)
    with filesystem.open_input_file(place) as stream:
        footer = pq.read_metadata(stream)
    least: dict[str, float] = {}
    for group in range(footer.num_row_groups):
        for index in range(footer.num_columns):
            column = footer.row_group(group).column(index)
            name, known = column.path_in_schema, column.statistics
            if name in names and known is not None and known.has_min_max and math.isfinite(known.min):
                least[name] = min(float(known.min), least.get(name, math.inf))
    return least


def _parts(batches: Iterable[pa.Table]) -> Iterator[tuple[TablePart, Sample]]:
    for batch in batches:
        for found, drawn in zip(batch.column("part"), batch.column("sample"), strict=True):
            yield unpacked(found.as_py()), Sample.from_ipc(drawn.as_py())
