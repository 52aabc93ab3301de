"""Decide: is a model needed? Simple candidates against quick models on the later part of the data."""

from typing import Any

import numpy as np
import pyarrow.compute
from pydantic import Field

from ray_mlops.contract import Decision, Frozen, Profile, Run, Table
from ray_mlops.fraud import material
from ray_mlops.fraud.contest import Contest, hold
from ray_mlops.fraud.costs import Costs
from ray_mlops.fraud.features import FeatureDefinition, FeaturesConfig
from ray_mlops.fraud.intervals import day_draws
from ray_mlops.fraud.material import Material
from ray_mlops.fraud.verdict import Bar, Gain, Judgement, after_contest, before_contest
from ray_mlops.platform import files, tables
from ray_mlops.reports.decision_page import decision_page
from ray_mlops.reports.page import render

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


class DecideConfig(Frozen):
    """What alerts cost, when a gain counts, and how much data is looked at.

    Of more than `max_rows` events in the days needed (history included), those of one card in two, three, … are read.
    `bootstrap` is the number of resamples of days behind each interval.
    """

    costs: Costs = Costs()
    bar: Bar = Bar()
    max_rows: int = Field(default=1_000_000, ge=1_000)
    bootstrap: int = Field(default=200, ge=20)


def run(config: DecideConfig, run: Run, *, table: Table, profile: Profile, features: FeaturesConfig) -> Decision:
    """Answer `use_ml | no_ml | collect_more | redefine`; writes `decision.json` and `report.html`.

    Raises ConfigError when the data are too short for the split, which the answer would otherwise rest on.
    """
    contest, found = None, None
    answer = before_contest(config.bar, rows=profile.rows, positives=profile.positives, leaks=profile.leaks)
    if answer is None:
        found = read(config, table, features)
        counted = {"earlier": int(found.earlier.labels.sum()), "later": int(found.later.labels.sum())}
        answer = before_contest(config.bar, rows=profile.rows, positives=profile.positives, leaks=(), **counted)
    draws = np.empty((0, 0))
    if answer is None and found is not None:
        contest = hold(found.earlier, found.later, found.seconds, seed=run.seed)
        draws = day_draws(contest.days, config.bootstrap, run.seed)
        answer = after_contest(contest, draws, config.bar)
    assert answer is not None
    record = _record(config, answer, contest, found, draws)
    report = files.join(run.uri, "report.html")
    files.write_json(files.join(run.uri, "decision.json"), record)
    files.write_text(report, render(decision_page(record, subtitle=f"{table.name}, snapshot {table.snapshot}")))
    rule = contest.by_kind.get("rule") if contest else None
    return Decision(
        uri=run.uri,
        fingerprint=run.fingerprint,
        verdict=answer.answer,
        reasons=answer.reasons,
        hints=answer.hints,
        rule=rule.candidate.rule if rule else None,
        scores={name: candidate["figures"] for name, candidate in record["candidates"].items()},
        report=report,
    )


def read(config: DecideConfig, table: Table, features: FeaturesConfig) -> Material:
    """The rows to decide on, out of the clean table."""
    definition = FeatureDefinition.of(features, table.data)
    times = tables.load(table, [table.data.time])[table.data.time]
    span = pc.min_max(times)
    intervals = features.split.intervals(span["min"].as_py(), span["max"].as_py())
    start = material.since(definition, intervals) or span["min"].as_py()
    end = max(interval.end for interval in intervals.values())
    within = pc.and_(pc.greater_equal(times, start), pc.less(times, end))
    share = -(-(pc.sum(within).as_py() or 0) // config.max_rows)
    time = pc.field(table.data.time)
    raw = tables.load(table, material.columns(definition), (time >= start) & (time < end))
    raw = material.one_in(raw, table.data, share)
    return material.prepare(raw, definition, features.split, intervals=intervals, costs=config.costs)


def _record(
    config: DecideConfig, answer: Judgement, contest: Contest | None, found: Material | None, draws: np.ndarray
) -> dict[str, Any]:
    """The decision as JSON: all that the page shows."""
    level = config.bar.confidence
    standings = contest.standings if contest else ()
    return {
        "verdict": answer.answer,
        "reasons": list(answer.reasons),
        "hints": list(answer.hints),
        "gains": {"average_precision": _gain(answer.ap), "money": _gain(answer.money)},
        "candidates": {
            standing.kind: {"about": standing.candidate.about, "figures": standing.figures(draws, level)}
            for standing in standings
        },
        "data": _data(found) | ({"days_judged": contest.days, "stolen": contest.stolen} if contest else {}),
        "settings": config.model_dump(mode="json"),
    }


def _gain(gain: Gain | None) -> dict[str, Any] | None:
    if gain is None:
        return None
    interval = {name: value if np.isfinite(value) else None for name, value in gain.interval.model_dump().items()}
    return {"model": gain.model.kind, "simple": gain.simple.kind, "about": gain.simple.candidate.about, **interval}


def _data(found: Material | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {
        "earlier_rows": len(found.earlier.labels),
        "earlier_positives": int(found.earlier.labels.sum()),
        "later_rows": len(found.later.labels),
        "later_positives": int(found.later.labels.sum()),
        "features": list(found.earlier.names),
    }
