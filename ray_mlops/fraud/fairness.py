"""How groups of people are treated: who is selected (reviewed or blocked), who rightly, who wrongly, each beside all others."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ray_mlops.fraud.appraisal import Judged, Scored
from ray_mlops.fraud.intervals import Estimate, Metric, minus, ratio
from ray_mlops.fraud.slices import Slicing

RATES = ("selection_rate", "tpr", "fpr")
FEWEST = 10  # rows or frauds behind a rate; a rate of fewer is left out of what gates read

Entry = dict[str, Any]
Told = Callable[[Metric], Estimate]


def group_table(judged: Judged, scored: Scored, groupings: Sequence[Slicing], told: Told) -> list[Entry]:
    """One entry a group: rows, frauds, `rates` and their `gaps` to all other rows of the grouping, as `Estimate`s.

    `tpr` is the share of frauds that is alerted, `fpr` that of honest transactions. Gaps are paired over days.
    """
    found = []
    for grouping in groupings:
        if grouping.useful:
            found += _grouping(judged, scored, grouping, told)
    return found


def _grouping(judged: Judged, scored: Scored, grouping: Slicing, told: Told) -> Iterator[Entry]:
    everybody = grouping.codes >= 0
    for value, rows in grouping.parts():
        own, others = _rates(judged, scored, rows), _rates(judged, scored, everybody & ~rows)
        yield {
            "by": grouping.name,
            "value": value,
            "rows": int(rows.sum()),
            "positives": int((judged.labels & rows).sum()),
            "rates": {name: told(own[name]) for name in RATES},
            "gaps": {name: told(minus(own[name], others[name])) for name in RATES},
        }


def _rates(judged: Judged, scored: Scored, rows: np.ndarray) -> Mapping[str, Metric]:
    blocks = (judged.days, judged.count)
    fraud, honest = judged.labels & rows, ~judged.labels & rows
    return {
        "selection_rate": ratio(scored.alerts & rows, rows, *blocks),
        "tpr": ratio(scored.alerts & fraud, fraud, *blocks),
        "fpr": ratio(scored.alerts & honest, honest, *blocks),
    }


def worst(table: Sequence[Entry]) -> dict[str, float]:
    """Flat figures for gates: over all groupings the least `selection_ratio` (lowest over highest selection rate, 0.8 by
    the four-fifths rule), and the largest `tpr_gap` and `fpr_gap` between a group and all others; none without groups."""
    if not table:
        return {}
    ratios = [_selection_ratio([entry for entry in table if entry["by"] == by]) for by in {e["by"] for e in table}]
    gaps = {name: [abs(entry["gaps"][name].value) for entry in table if judged_by(entry, name)] for name in RATES}
    found = {
        "selection_ratio": min((ratio for ratio in ratios if math.isfinite(ratio)), default=1.0),
        "tpr_gap": max((gap for gap in gaps["tpr"] if math.isfinite(gap)), default=0.0),
        "fpr_gap": max((gap for gap in gaps["fpr"] if math.isfinite(gap)), default=0.0),
    }
    return found


def judged_by(entry: Entry, rate: str) -> bool:
    """Whether a group has enough rows (frauds, honest ones) for a rate to mean something."""
    behind = {"selection_rate": entry["rows"], "tpr": entry["positives"], "fpr": entry["rows"] - entry["positives"]}
    return behind[rate] >= FEWEST


def _selection_ratio(entries: Sequence[Entry]) -> float:
    rates = [entry["rates"]["selection_rate"].value for entry in entries if judged_by(entry, "selection_rate")]
    return min(rates) / max(rates) if rates and max(rates) > 0 else float("nan")
