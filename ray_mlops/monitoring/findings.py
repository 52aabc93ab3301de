"""What the statistics of a whole table mean: JSON-able findings for people, reports and later stages."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from ray_mlops.monitoring.power import (
    SMALLEST_GROUP,
    Distribution,
    ordered_power,
    ranking_power,
    shaped_power,
)
from ray_mlops.monitoring.profile import ColumnPart, Day, Plan, TablePart
from ray_mlops.monitoring.statistics import Tally

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
HISTOGRAM_BINS = 40
TOP = 10
FEWEST_POSITIVES = 5  # fewer say nothing about a leak

Findings = dict[str, Any]


def findings(part: TablePart, plan: Plan, *, leak_power: float) -> Findings:
    """All that is known of the table. A column whose AUC or AP alone reaches `leak_power` is named a leak."""
    data = plan.data
    power = _powers(part, plan)
    enough = min(part.positives, part.rows - part.positives) >= FEWEST_POSITIVES
    leaks = [row["column"] for row in power if enough and row["source"] == "column" and _gives_away(row, leak_power)]
    whole = sum(part.days.values(), Day())
    return {
        "rows": part.rows,
        "positives": part.positives,
        "prevalence": part.positives / part.rows,
        "amount": _number(whole.amount) if data.amount else None,
        "amount_positive": _number(whole.lost) if data.amount else None,
        "prevalence_by_amount": _ratio(whole) if data.amount else None,
        "first": _moment(part.first),
        "last": _moment(part.last),
        "leaks": leaks,
        "power": power,
        "duplicates": {"rows": part.repeats.repeats, "exact": part.repeats.complete},
        "days": [_day(number, day) for number, day in part.days.items()],
        "calendar": {name: _calendar(counts) for name, counts in part.calendar.items()},
        "columns": {name: _column(part, plan, name) for name in plan.described},
        "entities": {name: _entity(part.columns[name].tally) for name in data.entities},
    }


def distribution(column: ColumnPart) -> Distribution:
    """A numeric column by ascending value: exact when its distinct values are few, else by narrow bins."""
    assert column.bins is not None and column.moments is not None
    missing = (column.missing, column.missing_positives)
    tally = column.tally
    if tally.complete and tally.values is not None:
        order = np.argsort(tally.values)
        values = tally.values[order].astype(np.float64)
        return Distribution(values, tally.counts[order], tally.positives[order], *missing)
    centres = np.clip(column.bins.centres(), column.moments.minimum, column.moments.maximum)
    return Distribution(centres, column.bins.counts, column.bins.positives, *missing)


# ---- columns -------------------------------------------------------------------------------------------------------


def _column(part: TablePart, plan: Plan, name: str) -> Findings:
    column, kind = part.columns[name], plan.kind(name)
    found: Findings = {
        "kind": kind,
        "missing": column.missing,
        "missing_share": column.missing / part.rows,
        "distinct": column.tally.distinct,
        "distinct_exact": column.tally.complete,
    }
    if kind in ("number", "time") and column.moments and column.moments.count:
        found |= _numbers(column, as_time=kind == "time")
    if kind == "text" or (kind == "number" and column.tally.distinct <= 2 * TOP):
        found["top"] = _top(column.tally, plan.data.column(name).type == "bool")
    return found


def _numbers(column: ColumnPart, *, as_time: bool) -> Findings:
    assert column.moments is not None
    spread = distribution(column)
    quantiles = {f"{share:g}": spread.quantile(share) for share in QUANTILES}
    low, high = column.moments.minimum, column.moments.maximum
    if as_time:
        quantiles = {share: _moment(value) for share, value in quantiles.items()}
        return {"minimum": _moment(low), "maximum": _moment(high), "quantiles": quantiles}
    return {
        "minimum": low,
        "maximum": high,
        "mean": column.moments.mean,
        "std": _number(column.moments.std),
        "quantiles": quantiles,
        "histogram": _histogram(spread, low, high),
        "rates": _rates(spread.grouped()),
    }


def _histogram(spread: Distribution, low: float, high: float) -> Findings:
    """Equal bins up to the 99.5 % quantile; what lies above is counted, not drawn."""
    end = high if high <= 2 * spread.quantile(0.995) else spread.quantile(0.995)
    edges = np.linspace(low, end if end > low else low + 1, HISTOGRAM_BINS + 1)
    counts = spread.histogram(edges)
    above = int(spread.counts.sum() - counts.sum())
    return {"edges": edges.tolist(), "counts": counts.tolist(), "above": above}


def _rates(groups: Distribution) -> list[Findings]:
    rows = zip(groups.values.tolist(), groups.counts.tolist(), groups.positives.tolist(), strict=True)
    return [{"from": value, "rows": count, "rate": hits / count} for value, count, hits in rows]


def _top(tally: Tally, boolean: bool = False) -> list[Findings]:
    assert tally.values is not None
    rows = []
    for position in tally.top(TOP):
        value = tally.values[position]
        named = bool(value) if boolean else value.item() if isinstance(value, np.generic) else value
        count, hits = int(tally.counts[position]), int(tally.positives[position])
        rows.append({"value": named, "rows": count, "positives": hits, "rate": hits / count})
    return rows


def _entity(tally: Tally) -> Findings:
    """How events spread over an entity; a sample of the entities where there are more than are remembered."""
    if not len(tally.counts):
        return {"distinct": 0, "sampled": False, "events": {}, "with_positives": 0, "largest_share": None, "top": []}
    sizes = np.sort(tally.counts)
    places = {f"{share:g}": int(sizes[min(int(share * len(sizes)), len(sizes) - 1)]) for share in (0.5, 0.9, 0.99, 1)}
    return {
        "distinct": tally.distinct,
        "sampled": not tally.complete,
        "events": {"mean": float(sizes.mean()), "minimum": int(sizes[0]), **places},
        "sizes": _sizes(sizes),
        "with_positives": float((tally.positives > 0).mean()),
        "largest_share": float(sizes[-1] / (sizes.sum() << tally.shift)),
        "top": _top(tally),
    }


def _sizes(sizes: np.ndarray) -> list[Findings]:
    """Entities by number of events, in octaves."""
    octaves = np.bincount(np.log2(sizes).astype(np.int64))
    return [{"events": _octave(power), "entities": int(count)} for power, count in enumerate(octaves)]


def _octave(power: int) -> str:
    low, high = 1 << power, (2 << power) - 1
    return f"{low:,}" if low == high else f"{low:,} – {high:,}"


# ---- power ---------------------------------------------------------------------------------------------------------


def _powers(part: TablePart, plan: Plan) -> list[Findings]:
    """Each usable column and calendar part alone, most telling first."""
    skipped = {*plan.data.entities, plan.data.label_time}
    rows = [_power(part.columns[name], plan, name) for name in plan.described if name not in skipped]
    rows += [_calendar_power(name, counts) for name, counts in part.calendar.items() if np.count_nonzero(counts[0]) > 1]
    told = [row for row in rows if row is not None and not math.isnan(row["auc"])]
    return sorted(told, key=lambda row: (-max(row["auc"], row["auc_any_shape"]), row["column"]))


def _power(column: ColumnPart, plan: Plan, name: str) -> Findings | None:
    if plan.kind(name) == "text":
        if not column.tally.complete:
            return None
        counts, positives = _pooled(column)
        order = np.argsort(-positives / np.maximum(counts, 1), kind="stable")
        auc, ap = ranking_power(counts[order], positives[order])
        return _powered(name, "column", "by value", (auc, ap), (auc, ap))
    spread = distribution(column)
    direction, *straight = ordered_power(spread)
    return _powered(name, "column", direction, straight, shaped_power(spread.grouped()))


def _pooled(column: ColumnPart) -> tuple[np.ndarray, np.ndarray]:
    """Rows and positives per text, rare texts taken together, missing rows as one more."""
    tally = column.tally
    order = np.argsort(tally.hashes)
    counts, positives = tally.counts[order], tally.positives[order]
    rare = counts < SMALLEST_GROUP
    pooled = [(counts[rare].sum(), positives[rare].sum()), (column.missing, column.missing_positives)]
    return (
        np.array([*counts[~rare], *(rows for rows, _ in pooled)]),
        np.array([*positives[~rare], *(hits for _, hits in pooled)]),
    )


def _calendar_power(name: str, counted: np.ndarray) -> Findings:
    filled = counted[0] > 0
    spread = Distribution(np.flatnonzero(filled).astype(float), counted[0][filled], counted[1][filled])
    direction, *straight = ordered_power(spread)
    return _powered(name, "calendar", direction, straight, shaped_power(spread))


def _powered(name: str, source: str, direction: str, straight: Any, shaped: Any) -> Findings:
    (auc, ap), (auc_any, ap_any) = straight, shaped
    return {
        "column": name, "source": source, "direction": direction,
        "auc": auc, "ap": ap, "auc_any_shape": auc_any, "ap_any_shape": ap_any,
    }  # fmt: skip


def _gives_away(row: Mapping[str, Any], leak_power: float) -> bool:
    return max(row["auc"], row["ap"], row["auc_any_shape"], row["ap_any_shape"]) >= leak_power


# ---- time ----------------------------------------------------------------------------------------------------------


def _day(number: int, day: Day) -> Findings:
    return {
        "day": (EPOCH + timedelta(days=number)).date().isoformat(),
        "rows": day.rows,
        "positives": day.positives,
        "amount": _number(day.amount),
        "amount_positive": _number(day.lost),
        "prevalence": day.positives / day.rows,
        "prevalence_by_amount": _ratio(day),
    }


def _ratio(day: Day) -> float | None:
    return float(day.lost.fraction() / day.amount.fraction()) if day.amount.units > 0 else None


def _calendar(counted: np.ndarray) -> list[Findings]:
    return [
        {"value": value, "rows": int(rows), "rate": int(hits) / int(rows)}
        for value, (rows, hits) in enumerate(counted.T)
        if rows
    ]


def _moment(microseconds: float) -> str | None:
    if not math.isfinite(microseconds):
        return None
    return (EPOCH + timedelta(microseconds=int(microseconds))).isoformat()


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
