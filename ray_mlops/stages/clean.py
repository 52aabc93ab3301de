"""Clean: hold every row of the raw table against the declared schema; what breaks it goes to quarantine, with reason.

Nothing is dropped: rows in = rows out + quarantined. Too many bad rows, or a label with one class only, stop the run.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute
from pydantic import Field

from ray_mlops.contract import CleanTable, Frozen, Run, Schema, Table
from ray_mlops.errors import DataError
from ray_mlops.platform import files, tables
from ray_mlops.platform.casting import ERROR, REASON
from ray_mlops.platform.sources import INGEST_REPORT
from ray_mlops.platform.validation import CONFLICT, DUPLICATE, check, mark_duplicates

if TYPE_CHECKING:
    import ray.data

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

_PARTITION_ROWS = 500_000
_SHOWN_REASONS = 5


class CleanConfig(Frozen):
    """When a table is too dirty to go on with.

    A share of bad rows above `max_bad_share` fails the run. Events after `latest` (UTC; default: one day from now) are
    in the future and bad. The report shows `samples` rows per reason. Up to `unshuffled_keys` keys are looked through
    for duplicates in one process; tables with more keys, or with duplicates, are partitioned by key.
    """

    max_bad_share: float = Field(default=0.01, ge=0, le=1)
    latest: datetime | None = None
    samples: int = Field(default=5, ge=0)
    unshuffled_keys: int = Field(default=20_000_000, ge=0)


class _Found(NamedTuple):
    """What the rows are like: `reasons` and `samples` per reason; `labels` counts the legal rows per label."""

    rows: int
    legal: int
    reasons: dict[str, int]
    samples: dict[str, list[dict[str, Any]]]
    labels: dict[str, int]

    @property
    def bad(self) -> int:
        """How many rows are quarantined."""
        return self.rows - self.legal


def run(config: CleanConfig, run: Run, *, table: Table) -> CleanTable:
    """The legal rows as one snapshot and the others as another; raises `DataError` when the table cannot be used."""
    schema = table.data
    latest = _latest(config)
    checked = _checked(config, table, latest).materialize()
    found = _findings(checked, schema, config.samples)
    _refuse_unusable(found, table, config)
    keep = partial(_select, columns=[*schema.names], legal=True)
    cleaned = tables.write(
        checked.map_batches(keep, batch_size=None, batch_format="pyarrow"), f"{table.name}.clean", run, data=schema
    )
    quarantine = _quarantine(checked, run, table) if found.bad else ""
    report = files.join(run.uri, "clean.json")
    files.write_json(report, _report(found, table))
    return CleanTable(
        **cleaned.model_dump(exclude={"data", "sources"}),
        data=schema,
        sources=table.sources,
        rows_in=table.rows,
        quarantined=found.bad,
        quarantine=quarantine,
        reasons=found.reasons,
        report=report,
        latest=latest,
    )


def _latest(config: CleanConfig) -> datetime:
    latest = config.latest or datetime.now(UTC) + timedelta(days=1)
    return latest if latest.tzinfo else latest.replace(tzinfo=UTC)


def _checked(config: CleanConfig, table: Table, latest: datetime) -> "ray.data.Dataset":
    """All rows with their reason, or null."""
    hold = partial(check, schema=table.data, latest=latest)
    checked = tables.read(table).map_batches(hold, batch_size=None, batch_format="pyarrow")
    if _keys_are_unique(table, config.unshuffled_keys):
        return checked
    partitions = -(-table.rows // _PARTITION_ROWS)
    mark = partial(mark_duplicates, schema=table.data)
    # After a partition by key the first map sees each key whole; a later one would not.
    return checked.repartition(partitions, keys=[table.data.key]).map_batches(
        mark, batch_size=None, batch_format="pyarrow"
    )


def _keys_are_unique(table: Table, limit: int) -> bool:
    """Whether no key occurs twice; False also where finding out would take too much memory in one process."""
    if table.rows > limit:
        return False
    keys = tables.load(table, columns=[table.data.key]).column(0).drop_null()
    return pc.count_distinct(keys).as_py() == len(keys)


def _select(batch: pa.Table, columns: list[str], *, legal: bool) -> pa.Table:
    reasons = batch.column(REASON)
    return batch.filter(reasons.is_null() if legal else reasons.is_valid()).select(columns)


def _quarantine(checked: "ray.data.Dataset", run: Run, table: Table) -> str:
    """Commit the bad rows as a table of their own; returns the JSON file that refers to it."""
    columns = [*table.data.names, *([ERROR] if ERROR in table.columns else []), REASON]
    bad = checked.map_batches(partial(_select, columns=columns, legal=False), batch_size=None, batch_format="pyarrow")
    written = tables.write(bad, f"{table.name}.quarantine", run, data=table.data)
    reference = files.join(run.uri, "quarantine.json")
    files.write_text(reference, written.model_dump_json())
    return reference


def _findings(checked: "ray.data.Dataset", schema: Schema, samples: int) -> _Found:
    counts = partial(_count, schema=schema, samples=samples)
    rows = legal = 0
    reasons: dict[str, int] = {}
    examples: dict[str, list[str]] = {}
    labels: dict[str, int] = {}
    for part in checked.map_batches(counts, batch_size=None, batch_format="pyarrow").iter_rows():
        rows += part["rows"]
        if part["kind"] == "label":
            legal += part["rows"]
            labels[part["name"]] = labels.get(part["name"], 0) + part["rows"]
            continue
        for reason in part["name"].split("; "):
            reasons[reason] = reasons.get(reason, 0) + part["rows"]
            examples[reason] = sorted([*examples.get(reason, []), *part["samples"]])[:samples]
    ranked = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
    return _Found(
        rows=rows,
        legal=legal,
        reasons=ranked,
        samples={reason: [json.loads(text) for text in examples[reason]] for reason in ranked},
        labels=dict(sorted(labels.items())),
    )


def _count(batch: pa.Table, schema: Schema, samples: int) -> pa.Table:
    """One row per label of the legal rows and one per combination of reasons, with the first bad rows by key."""
    found = []
    legal = batch.filter(batch.column(REASON).is_null())
    for pair in legal.column(schema.label).value_counts().to_pylist():
        found.append(("label", str(pair["values"]), pair["counts"], []))
    bad = batch.filter(batch.column(REASON).is_valid())
    for pair in bad.column(REASON).value_counts().to_pylist():
        rows = bad.filter(pc.equal(bad.column(REASON), pair["values"])).drop_columns(REASON)
        first = rows.take(pc.sort_indices(rows, [(name, "ascending") for name in rows.column_names])[:samples])
        found.append(
            ("bad", pair["values"], pair["counts"], [json.dumps(row, default=str) for row in first.to_pylist()])
        )
    kinds, names, counts, texts = zip(*found, strict=True) if found else ((), (), (), ())
    columns = (pa.array(kinds, pa.string()), pa.array(names, pa.string()), pa.array(counts, pa.int64()))
    return pa.table([*columns, pa.array(texts, pa.list_(pa.string()))], ["kind", "name", "rows", "samples"])


def _refuse_unusable(found: _Found, table: Table, config: CleanConfig) -> None:
    if found.rows != table.rows:
        raise DataError(f"{found.rows:,} rows were read of {table.rows:,} in {table.name}: its files have changed.")
    if found.bad > config.max_bad_share * found.rows:
        raise DataError(
            f"{found.bad:,} of {found.rows:,} rows of {table.name} ({found.bad / found.rows:.2%}) break the declared "
            f"schema; max_bad_share is {config.max_bad_share:.2%}. {_top(found)}. "
            "Correct the source or the schema, or raise clean.max_bad_share."
        )
    labels = {value: count for value, count in found.labels.items() if value != "None"}
    if len(labels) < 2:
        seen = f"{next(iter(labels))} in all {found.legal:,} rows" if labels else f"missing in all {found.legal:,} rows"
        raise DataError(
            f"the label {table.data.label} of {table.name} is {seen}: there is nothing to learn. "
            "Check which column is the label and whether the source holds both classes."
        )


def _top(found: _Found) -> str:
    """The most frequent reasons with their counts and an example each."""
    shown = list(found.reasons.items())[:_SHOWN_REASONS]
    lines = [f"{reason} ({count:,} rows{_example(found.samples[reason])})" for reason, count in shown]
    more = len(found.reasons) - len(shown)
    hint = " (times that are not ISO 8601 need time_format or time_unit on the source)"
    return f"Top reasons: {'; '.join(lines)}{f'; {more} more' if more else ''}" + (
        hint if any(reason.endswith("not a timestamp") for reason in found.reasons) else ""
    )


def _example(samples: Sequence[Mapping[str, Any]]) -> str:
    if not samples:
        return ""
    values = {name: value for name, value in samples[0].items() if value is not None}
    return f", for example {json.dumps(values, default=str)[:300]}"


def _report(found: _Found, table: Table) -> dict[str, Any]:
    key = table.data.key
    source = files.join(table.uri, INGEST_REPORT)
    read = files.read_json(source) if files.exists(source) else {}
    return {
        "rows_in": found.rows,
        "rows": found.legal,
        "quarantined": found.bad,
        "reasons": found.reasons,
        "duplicates": found.reasons.get(f"{key}: {DUPLICATE}", 0),
        "conflicting_duplicates": found.reasons.get(f"{key}: {CONFLICT}", 0),
        "out_of_order": read.get("out_of_order"),
        "time_zone_conversions": read.get("time_zone_conversions"),
        "labels": found.labels,
        "samples": found.samples,
    }
