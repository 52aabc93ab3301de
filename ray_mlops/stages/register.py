"""Register: through the gates, then into a bundle, then into the registry.

A model that misses a gate leaves nothing behind. The bundle holds content only; where its tables live is told by the
file `<digest>.origin.json` beside it, so that the same model has the same digest in every run root.
"""

import json
import tempfile
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ray_mlops import algorithms
from ray_mlops.contract import Algorithm, Decision, Evaluation, Features, ModelVersion, Run, Schema, Table, Trained
from ray_mlops.fraud import predictor, pyfunc
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.monitoring import attribution
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.sketches import baseline_of
from ray_mlops.platform import files, model_card, provenance, tables
from ray_mlops.platform.admission import Gate, RegisterConfig, check, enter
from ray_mlops.platform.bundle import Bundle, origin

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

__all__ = ["Gate", "RegisterConfig", "check", "fill", "lineage", "run"]
_MOST_BASELINE_ROWS = 2_000_000
EXPLAINED = 1_000  # rows of validation whose scores are explained
_CODE = ("ray_mlops.stages.features", "ray_mlops.stages.train", "ray_mlops.fraud.predictor")


def run(
    config: RegisterConfig,
    run: Run,
    *,
    features: Features,
    trained: Trained,
    evaluation: Evaluation,
    decision: Decision,
    algorithm: Algorithm,
) -> ModelVersion:
    """Enter the trained model as a version, the first as champion, later ones as challenger or champion.

    Raises `GateError` when a metric misses its gate, `ConfigError` when a gate names none; nothing is written then.
    """
    check(config, evaluation.metrics)
    with tempfile.TemporaryDirectory(prefix="ray-mlops-bundle-") as folder:
        fill(
            folder,
            run,
            features=features,
            trained=trained,
            evaluation=evaluation,
            decision=decision,
            algorithm=algorithm,
        )
        _write(folder, model_card.CARD, model_card.content(config.card, evaluation))
        run.progress(1, 2, "bundle")
        bundle = Bundle.write(folder, files.join(run.root, "bundles"))
    files.write_json(origin(bundle.uri), {"history": features.history.model_dump(mode="json")})
    provenance.note(bundle.uri, run, trained)
    version = enter(config, run, bundle, evaluation)
    run.progress(2, 2, "bundle")
    return version


def fill(
    folder: str,
    run: Run,
    *,
    features: Features,
    trained: Trained,
    evaluation: Evaluation,
    decision: Decision,
    algorithm: Algorithm,
) -> None:
    """Write the content of the bundle into a local folder."""
    found = {name: value for name, value in trained.algorithm.items() if name not in ("kind", "class")}
    fitted = algorithms.with_settings(algorithm, found)
    definition = FeatureDefinition.model_validate(files.read_json(features.definition))
    with files.localised(files.join(trained.uri, "model")) as model:
        predictor.save(
            folder, fitted, model, definition, calibration=evaluation.calibration, thresholds=evaluation.thresholds
        )
        scoring = Predictor(fitted.load(model), definition, evaluation.calibration, evaluation.thresholds)
        baseline, sample = _baseline(scoring, features, evaluation.slices)
    pyfunc.write(folder, scoring, sample)
    chosen = decision.model_dump(mode="json", exclude={"uri", "fingerprint", "report"})
    _write(folder, "baseline.json", json.loads(baseline.model_dump_json()))
    _write(folder, "example.json", _example(features.history, definition))
    _write(folder, "decision.json", {**chosen, "override": run.override})
    _write(folder, "evaluation.json", dict(evaluation.metrics))
    _write(folder, "lineage.json", lineage(run, features, trained))


def lineage(run: Run, features: Features, trained: Trained) -> dict[str, Any]:
    """What the model was made from: tables by content id, the split, hyperparameters, code and environment."""
    described = {"features": features.table, "history": features.history}
    return {
        "recipe": run.recipe.rpartition("/")[2],  # not where it is: that would change the digest
        "seed": run.seed,
        "tables": {name: {"name": table.name, "snapshot": table.snapshot} for name, table in described.items()},
        "sources": dict(features.history.sources),
        "intervals": {name: interval.model_dump(mode="json") for name, interval in features.intervals.items()},
        "rows": dict(features.rows),
        "positives": dict(features.positives),
        "algorithm": dict(trained.algorithm),
        **provenance.made_by(_CODE, run.recipe),
    }


def _baseline(scoring: Predictor, features: Features, slices: Sequence[str]) -> tuple[Baseline, np.ndarray]:
    """Features of train and validation rows (of validation alone where both are very many); scores of validation, also by
    the values of `slices`. And the first row of validation: in the order of their keys, wherever they lie."""
    rows = features.rows["train"] + features.rows["validation"]
    parts = ["validation"] if rows > _MOST_BASELINE_ROWS else ["train", "validation"]
    names, data = list(features.names), scoring.definition.data
    table = tables.load(features.table, [*names, data.key, "split"], pc.field("split").isin(parts)).sort_by(data.key)
    matrix = np.stack([table[name].to_numpy().astype(np.float32) for name in names], axis=1)
    held_out = np.asarray(pc.equal(table["split"], "validation"))
    scores = scoring.score(matrix[held_out])
    texts = [name for name in scoring.definition.asked if data.column(name).type in ("string", "bool")]
    kept = [name for name in texts if name not in (data.key, data.time, *data.entities)]
    sent = _sent(features, data, [*dict.fromkeys((*kept, *slices))], table[data.key])
    baseline = baseline_of(
        names,
        matrix,
        scores.score,
        decisions=[predictor.ACTIONS[action] for action in scores.action],
        actions=predictor.ACTIONS,
        inputs=sent,
        slices={name: list(compress(sent[name], held_out)) for name in slices},
    )
    explained = matrix[held_out][:: max(1, int(held_out.sum()) // EXPLAINED)]
    contributions = np.asarray(scoring.model.explain(explained), np.float64)
    importance = attribution.importance(tuple(names), contributions)
    return baseline.model_copy(update={"importance": importance}), matrix[held_out][0]


def _sent(features: Features, data: Schema, names: list[str], keys: pa.ChunkedArray) -> dict[str, list[Any]]:
    """Columns of the history, for the rows with these keys."""
    if not names:
        return {}
    history = tables.load(features.history, [data.key, *names])
    places: Any = pc.index_in(keys, value_set=history[data.key].combine_chunks())
    return {name: history[name].take(places).to_pylist() for name in names}


def _example(history: Table, definition: FeatureDefinition) -> dict[str, Any]:
    """The last transaction of the history, as a caller would send it."""
    data = definition.data
    columns = [name for name in data.names if name not in (data.label, data.label_time) and name in history.columns]
    latest = pc.max(tables.load(history, [data.time])[data.time])
    rows = tables.load(history, columns, pc.field(data.time) == latest).sort_by(data.key)
    last = rows.slice(rows.num_rows - 1).to_pylist()[0]
    last = {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in last.items()}
    return {name: value for name, value in last.items() if value is not None}


def _write(folder: str, name: str, value: Any) -> None:
    Path(folder, name).write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
