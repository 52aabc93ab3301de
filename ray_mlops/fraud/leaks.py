"""Leaks that one column's power does not show: time that can be read off the columns, entities whose label never changes,
labels of one stretch of time only, and keys that were given out by label."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from pydantic import Field

from ray_mlops.algorithms.ranking import roc_auc
from ray_mlops.contract import Frozen, Schema
from ray_mlops.fraud.encoding import encode_numbers, integer_times
from ray_mlops.fraud.leak_sample import Sample

LATE = 0.2  # of the rows, the last ones by time: what a model would be tested on
FEWEST = 20  # positives, and as many negatives, without which nothing is said
_CATEGORIES = 50
_STRETCH = 0.1  # of all rows, the shortest stretch of time that is told to lack labels
_TELLING = 0.2  # of the gain of all columns
_ROUNDS = 40

Entry = dict[str, Any]


class Limits(Frozen):
    """From where on something is a warning: `time` is the AUC with which early and late rows are told apart, `entity` the
    AUC of an entity's earlier label for its later ones, `key` that of the key for the label, `stretch` the rate of
    positives of a stretch of time over the rate of all other rows."""

    time: float = Field(default=0.8, gt=0.5, le=1)
    entity: float = Field(default=0.9, gt=0.5, le=1)
    key: float = Field(default=0.9, gt=0.5, le=1)
    stretch: float = Field(default=0.1, ge=0, lt=1)


def leak_checks(sample: Sample, days: Sequence[Mapping[str, Any]], data: Schema, limits: Limits, *, seed: int) -> Entry:
    """What each check found, and `warnings` in words; `days` have `day`, `rows` and `positives`, in order."""
    times = integer_times(sample.rows[data.time]) if sample.rows.num_rows else np.empty(0, np.int64)
    boundary = float(np.quantile(times, 1 - LATE)) if len(times) else math.nan
    found: Entry = {
        "boundary_share": LATE,
        "time": _time(sample.rows, times >= boundary, data, seed),
        "entities": {name: _entity(rows, name, data, boundary) for name, rows in sample.entities.items()},
        "stretches": _stretches(days, limits.stretch),
        "key": _key(sample.rows, data),
    }
    return {**found, "warnings": list(_warnings(found, data, limits))}


def _warnings(found: Entry, data: Schema, limits: Limits) -> Iterator[str]:
    time = found["time"]
    if (time["auc"] or 0) >= limits.time:
        named = ", ".join(time["columns"]) or "no single column"
        yield (
            f"Early and late rows can be told apart (AUC {time['auc']:.3f}), mostly by {named}: a model will meet values "
            "that it has never seen, and what it learned of a period is of no use later."
        )
    for name, entity in found["entities"].items():
        if (entity["auc"] or 0) >= limits.entity:
            yield (
                f"The earlier label of a {name} tells its later ones (AUC {entity['auc']:.3f}), and {entity['overlap']:.0%} "
                f"of the late rows are of a {name} seen before: a model that knows it by heart looks good in the test. "
                f"Keep each {name} on one side of the split."
            )
    for stretch in found["stretches"]:
        yield (
            f"Labels are missing from {stretch['from']} to {stretch['until']}: {stretch['positives']:,} positives in "
            f"{stretch['rows']:,} rows, where the rate of all other rows would give {stretch['expected']:,.0f}. "
            "Leave that stretch out, or find its labels."
        )
    if (found["key"]["auc"] or 0) >= limits.key:
        yield (
            f"{data.key} tells the label (AUC {found['key']['auc']:.3f}): the rows were ordered by label, or labels were "
            "joined for a part of them only. Never let it, or anything derived from it, be an input."
        )


# ---- time ----------------------------------------------------------------------------------------------------------


def _time(rows: pa.Table, late: np.ndarray, data: Schema, seed: int) -> Entry:
    """How well a quick model tells late rows from early ones by their columns, on rows that it was not fitted on."""
    names = [
        name for name in data.names if name not in _roles(data) and not kinds.is_timestamp(rows.schema.field(name).type)
    ]
    half = np.arange(len(late)) % 2 == 0
    if not names or min(_both(late[half]), _both(late[~half])) < FEWEST:
        return {"auc": None, "columns": [], "rows": len(late)}
    import lightgbm

    matrix = np.stack([_numbers(rows[name]) for name in names], axis=1)
    settings = {
        "objective": "binary", "num_leaves": 15, "learning_rate": 0.15, "min_data_in_leaf": 20, "num_threads": 1,
        "deterministic": True, "force_row_wise": True, "seed": seed, "verbose": -1,
    }  # fmt: skip
    booster = lightgbm.train(settings, lightgbm.Dataset(matrix[half], late[half].astype(np.float32)), _ROUNDS)
    gain = booster.feature_importance("gain")
    told = [names[place] for place in np.argsort(-gain, kind="stable") if gain[place] >= _TELLING * gain.sum() > 0]
    auc = roc_auc(late[~half], np.asarray(booster.predict(matrix[~half])))
    return {"auc": auc, "columns": told, "rows": len(late)}


def _roles(data: Schema) -> set[str | None]:
    """Columns that no model reads as they are."""
    return {data.key, data.time, data.label, data.label_time, *data.entities}


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column as float64; the most frequent texts by their rank, the others as one more."""
    if kinds.is_integer(column.type) or kinds.is_floating(column.type) or kinds.is_boolean(column.type):
        return encode_numbers(column).astype(np.float64)
    encoded = column.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    counts = np.bincount(codes[codes >= 0], minlength=len(encoded.dictionary))
    texts = encoded.dictionary.to_pylist()
    order = sorted(range(len(texts)), key=lambda code: (-counts[code], str(texts[code])))
    ranks = np.full(len(texts) + 1, np.nan)
    ranks[order] = np.minimum(np.arange(len(texts)), _CATEGORIES)
    return ranks[codes]


# ---- entities ------------------------------------------------------------------------------------------------------


def _entity(rows: pa.Table, name: str, data: Schema, boundary: float) -> Entry:
    """How well the label that an entity had before the boundary tells its labels after it; and how many late rows are of
    entities seen before."""
    codes = rows[name].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    labels = encode_numbers(rows[data.label]) == 1
    late = integer_times(rows[data.time]) >= boundary
    entities = int(codes.max(initial=-1)) + 1
    events = np.bincount(codes[~late], minlength=entities)
    frauds = np.bincount(codes[~late], weights=labels[~late], minlength=entities)
    seen = late & (events[codes] > 0) if entities else late
    overlap = float(seen.sum() / late.sum()) if late.any() else None
    if _both(labels[seen]) < FEWEST:
        return {"auc": None, "overlap": overlap, "entities": entities}
    return {"auc": roc_auc(labels[seen], (frauds[codes] / np.maximum(events[codes], 1))[seen]), "overlap": overlap,
            "entities": entities}  # fmt: skip


# ---- labels --------------------------------------------------------------------------------------------------------


def _stretches(days: Sequence[Mapping[str, Any]], limit: float) -> list[Entry]:
    """The beginning and the end of the data, where (almost) no row is positive although many would have to be."""
    rows = np.array([day["rows"] for day in days], dtype=np.float64)
    positives = np.array([day["positives"] for day in days], dtype=np.float64)
    found = []
    for name, order in (("begin", slice(None)), ("end", slice(None, None, -1))):
        inside, hits = np.cumsum(rows[order]), np.cumsum(positives[order])
        outside, other = rows.sum() - inside, positives.sum() - hits
        expected = inside * np.divide(other, outside, out=np.zeros_like(other), where=outside > 0)
        lacking = (hits < limit * expected) & (expected >= FEWEST) & (inside >= _STRETCH * rows.sum())
        if lacking.any():
            rates = np.where(lacking, hits / np.maximum(expected, 1e-9), np.inf)
            last = int(np.flatnonzero(rates == rates.min())[-1])  # where it is most evident, and of these the longest
            ends = (days[0], days[last]) if name == "begin" else (days[len(days) - 1 - last], days[-1])
            found.append({
                "from": ends[0]["day"], "until": ends[1]["day"], "rows": int(inside[last]),
                "positives": int(hits[last]), "expected": float(expected[last]),
            })  # fmt: skip
    return found


def _key(rows: pa.Table, data: Schema) -> Entry:
    """How well the key alone, as a number, ranks the positives; in the better direction."""
    labels = encode_numbers(rows[data.label]) == 1
    if not kinds.is_integer(rows.schema.field(data.key).type) or _both(labels) < FEWEST:
        return {"auc": None}
    auc = roc_auc(labels, rows[data.key].to_numpy().astype(np.float64))
    return {"auc": max(auc, 1 - auc)}


def _both(flags: np.ndarray) -> int:
    """The smaller of the two classes."""
    return int(min(flags.sum(), len(flags) - flags.sum()))
