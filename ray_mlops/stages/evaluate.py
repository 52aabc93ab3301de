"""Evaluate: how good the model is on the test rows, against the champion and the best rule on the same rows."""

import difflib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from pydantic import Field

from ray_mlops import algorithms
from ray_mlops.contract import Algorithm, Decision, Evaluation, Features, ModelVersion, Run, Schema, Trained
from ray_mlops.errors import ConfigError
from ray_mlops.fraud import slices
from ray_mlops.fraud.appraisal import NEVER, Judged
from ray_mlops.fraud.candidates import thinned
from ray_mlops.fraud.cards import card_codes
from ray_mlops.fraud.encoding import encode_numbers, integer_times
from ray_mlops.fraud.examination import Chosen, Settings, examine
from ray_mlops.fraud.importance import importance
from ray_mlops.fraud.predictor import phrases
from ray_mlops.fraud.rivals import Against
from ray_mlops.fraud.scoring import SCORE, Plan
from ray_mlops.fraud.slices import Slicing
from ray_mlops.platform import files, tables
from ray_mlops.platform.user_code import by_value
from ray_mlops.reports.evaluation_page import evaluation_page
from ray_mlops.reports.page import render

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
SPLIT = "split"
PARTS = ("validation", "test")
BATCH_ROWS = 65_536
FEW_VALUES = 12


class EvaluateConfig(Settings):
    """How the model is judged, and where.

    `slices` are further columns of the clean table to cut the test rows by; those declared with a few legal values are
    taken anyway. `groups` are columns whose values are groups of people that are to be treated alike. What the model looks
    at is asked of about `importance_rows` test rows. More than `in_process_rows` rows are scored on Ray.
    """

    slices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    importance_rows: int = Field(default=2_000, ge=100)
    in_process_rows: int = Field(default=1_000_000, ge=0)


def run(
    config: EvaluateConfig,
    run: Run,
    *,
    features: Features,
    trained: Trained,
    decision: Decision,
    algorithm: Algorithm,
    champion: ModelVersion | None = None,
) -> Evaluation:
    """Judge the trained model; writes `scores.parquet` (validation and test rows), `details.json` and `report.html`.

    Raises ConfigError when `slices` or `groups` names no column, or when a score of the model is not in [0, 1].
    """
    extra = _slice_columns(config, features.history.data)
    against = Against.of(features, decision.rule, champion)
    model = files.join(trained.uri, "model")
    plan = against.plan(_kept(features), _fitted(algorithm, trained), model)
    rows = _scored(config, run, features, plan)
    validation, test = (rows.filter(pc.equal(rows[SPLIT], part)) for part in PARTS)
    chosen = _chosen(config, validation, features)
    found = examine(
        _judged(config, test, features.table.data),
        chosen.scored(test[SCORE].to_numpy()),
        against.rivals(test, features),
        list(_slicings(test, features, extra)),
        groupings=list(_by_value(test, features, config.groups)),
        settings=config,
        seed=run.seed,
    )
    _write_scores(run, rows, chosen)
    made = {
        **found.details,
        "importance": _importance(config, test, features, plan, seed=run.seed),
        "thresholds": dict(chosen.thresholds),
        "calibration": chosen.calibration.points(),
        "model": dict(trained.algorithm),
        "notes": [*against.notes, *_notes(chosen)],
        "intervals": {name: part.model_dump(mode="json") for name, part in features.intervals.items()},
        "settings": config.model_dump(mode="json"),
    }
    details, report = (files.join(run.uri, name) for name in ("details.json", "report.html"))
    files.write_json(details, made)
    files.write_text(report, render(evaluation_page(made, subtitle=f"{run.recipe}, run {run.id}")))
    return Evaluation(
        uri=run.uri,
        fingerprint=run.fingerprint,
        champion=champion.version if champion else "",
        metrics=found.metrics,
        details=details,
        slices=tuple(dict.fromkeys((*extra, *config.groups))),
        calibration=chosen.calibration.points(),
        thresholds=chosen.thresholds,
        report=report,
    )


def _judged(config: Settings, rows: pa.Table, data: Schema) -> Judged:
    labels = encode_numbers(rows[data.label]) == 1
    amounts = None if data.amount is None else np.nan_to_num(encode_numbers(rows[data.amount]))
    cards = card_codes(rows[data.entities[0]]) if data.entities else None
    return Judged.of(labels, config.costs.stolen(labels, amounts), integer_times(rows[data.time]) // 1_000_000, cards)


def _chosen(config: Settings, validation: pa.Table, features: Features) -> Chosen:
    interval = features.intervals["validation"]
    judged = _judged(config, validation, features.table.data)
    length_days = (interval.end - interval.start) / timedelta(days=1)
    return Chosen.on(validation[SCORE].to_numpy(), judged, config, length_days=length_days)


def _notes(chosen: Chosen) -> Iterator[str]:
    if chosen.thresholds["review"] >= NEVER:
        yield "On validation no alert would have paid for its review: the review threshold is never reached."
    if chosen.thresholds["block"] >= NEVER:
        yield "On validation no threshold was precise enough to block: nothing will be blocked."


# ---- scoring -------------------------------------------------------------------------------------------------------


def _fitted(algorithm: Algorithm, trained: Trained) -> Algorithm:
    """The algorithm with the hyperparameters that the search found."""
    found = {name: value for name, value in trained.algorithm.items() if name not in ("kind", "class")}
    return algorithms.with_settings(algorithm, found)


def _kept(features: Features) -> tuple[str, ...]:
    data = features.table.data
    amount = () if data.amount is None else (data.amount,)
    return tuple(dict.fromkeys((data.key, data.time, data.label, *amount, *data.entities, SPLIT)))


def _scored(config: EvaluateConfig, run: Run, features: Features, plan: Plan) -> pa.Table:
    """The scored validation and test rows by time and key: in this process when few, else on Ray; the same rows."""
    count = sum(features.rows[part] for part in PARTS)
    batches = _here(features, plan) if count <= config.in_process_rows else _on_ray(features, plan)
    parts: list[pa.Table] = []
    for batch in batches:
        parts.append(batch)
        run.progress(sum(part.num_rows for part in parts), count, "rows")
    data = features.table.data
    return pa.concat_tables(parts).sort_by([(data.time, "ascending"), (data.key, "ascending")]).combine_chunks()


def _here(features: Features, plan: Plan) -> Iterator[pa.Table]:
    table = tables.load(features.table, _read(features, plan), pc.field(SPLIT).isin(PARTS))
    for start in range(0, table.num_rows, BATCH_ROWS):
        yield plan(table.slice(start, BATCH_ROWS))


def _on_ray(features: Features, plan: Plan) -> Iterator[Any]:
    with by_value(plan.algorithm):
        scored = tables.read(features.table, _read(features, plan)).map_batches(
            partial(_score_batch, plan), batch_size=None, batch_format="pyarrow"
        )
        yield from scored.iter_batches(batch_size=None, batch_format="pyarrow")


def _read(features: Features, plan: Plan) -> list[str]:
    return list(dict.fromkeys((*plan.kept, *features.names)))


def _score_batch(plan: Plan, batch: pa.Table) -> pa.Table:
    return plan(batch.filter(pc.field(SPLIT).isin(PARTS)))


def _write_scores(run: Run, rows: pa.Table, chosen: Chosen) -> None:
    """Score, probability and decision of each validation and test row."""
    scores = rows[SCORE].to_numpy()
    limits = [chosen.thresholds[name] for name in ("review", "block")]
    action = pa.array(("approve", "review", "block")).take(pa.array(np.searchsorted(limits, scores, side="right")))
    table = rows.append_column("probability", pa.array(chosen.calibration.apply(scores))).append_column(
        "decision", action
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    files.write_bytes(files.join(run.uri, "scores.parquet"), sink.getvalue().to_pybytes())


# ---- slices --------------------------------------------------------------------------------------------------------


def _slice_columns(config: EvaluateConfig, data: Schema) -> list[str]:
    """Columns to slice by: those asked for, and those that have only a few legal values by declaration."""
    for field, names in (("slices", config.slices), ("groups", config.groups)):
        for name in names:
            if name not in data.names:
                near = difflib.get_close_matches(name, data.names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(data.names)}"
                raise ConfigError(f"evaluate.{field}: {name!r} is not a column of the data; {hint}")
    roles = {data.key, data.time, data.label, data.label_time, *data.entities}
    few = [
        column.name for column in data.columns if column.type == "bool" or 0 < len(column.domain or ()) <= FEW_VALUES
    ]
    return list(dict.fromkeys(name for name in (*few, *config.slices) if name not in roles))


def _slicings(test: pa.Table, features: Features, extra: list[str]) -> Iterator[Slicing]:
    data = features.history.data
    if data.amount is not None:
        yield slices.by_amount(np.nan_to_num(encode_numbers(test[data.amount])))
    yield from slices.by_time(integer_times(test[data.time]), data.timezone)
    for entity in data.entities:
        seen = tables.load(features.table, [entity], pc.field(SPLIT) == "train")[entity]
        yield slices.by_novelty(entity, test[entity], seen.unique())
    yield from _by_value(test, features, extra)


def _by_value(test: pa.Table, features: Features, names: Sequence[str]) -> Iterator[Slicing]:
    """The test rows by the values of columns of the history."""
    if not names:
        return
    data = features.history.data
    interval, time = features.intervals["test"], pc.field(data.time)
    history = tables.load(features.history, [data.key, *names], (time >= interval.start) & (time < interval.end))
    places: Any = pc.index_in(test[data.key], value_set=history[data.key].combine_chunks())
    yield from (slices.by_value(name, history[name].take(places)) for name in names)


# ---- importance ----------------------------------------------------------------------------------------------------


def _importance(config: EvaluateConfig, test: pa.Table, features: Features, plan: Plan, *, seed: int) -> dict[str, Any]:
    """What the model looks at, from some of the test rows: all frauds as far as there is room, and honest ones by chance."""
    data = features.table.data
    labels = encode_numbers(test[data.label]) == 1
    chosen, weights = thinned(labels, config.importance_rows, seed)
    keys = test[data.key].take(pa.array(chosen)).combine_chunks()
    found = tables.load(features.table, [data.key, *features.names], pc.field(data.key).isin(keys))
    found = found.take(pc.index_in(keys, value_set=found[data.key].combine_chunks()))
    matrix = np.empty((len(keys), len(features.names)), dtype=np.float32)
    for place, name in enumerate(features.names):
        matrix[:, place] = encode_numbers(found[name])
    asked = importance(plan.predictor.model, matrix, labels[chosen], features.names, weights=weights, seed=seed)
    words = phrases(plan.definition)
    return {**asked, "features": [{**row, "words": words[row["feature"]]} for row in asked["features"]]}
