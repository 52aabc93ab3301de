"""Register a classifier of images: through the gates, into a bundle, into the registry; as for any other model."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ray_mlops import algorithms
from ray_mlops.contract import Algorithm, Decision, Evaluation, ImageFeatures, ModelVersion, Run, Trained
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.sketches import baseline_of
from ray_mlops.platform import files, model_card, provenance, tables
from ray_mlops.platform.admission import RegisterConfig, check, enter
from ray_mlops.platform.bundle import Bundle, origin
from ray_mlops.platform.parts import Split
from ray_mlops.vision import predictor, pyfunc
from ray_mlops.vision.embedding import REFERENCE, Reference, Seen
from ray_mlops.vision.parts import ImageSource
from ray_mlops.vision.pictures import thumbnail
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.signals import SEEN, shapes, signals

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
_CODE = ("ray_mlops.stages.images.features", "ray_mlops.stages.train", "ray_mlops.vision.predictor")
_MOST_BASELINE_ROWS = 20_000
_REFERENCE_ROWS, _REFERENCE_ROWS_A_CLASS = 2_000, 20
_BATCH_ROWS = 512


def run(
    config: RegisterConfig,
    run: Run,
    *,
    features: ImageFeatures,
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
        found = {name: value for name, value in trained.algorithm.items() if name not in ("kind", "class")}
        _save(folder, algorithms.with_settings(algorithm, found), features, trained, evaluation)
        chosen = decision.model_dump(mode="json", exclude={"uri", "fingerprint", "report"})
        _write(folder, "decision.json", {**chosen, "override": run.override})
        _write(folder, "evaluation.json", dict(evaluation.metrics))
        _write(folder, "lineage.json", _lineage(run, features, trained))
        _write(folder, model_card.CARD, model_card.content(config.card, evaluation))
        run.progress(1, 2, "bundle")
        bundle = Bundle.write(folder, files.join(run.root, "bundles"))
    files.write_json(origin(bundle.uri), {"source": features.source.model_dump(mode="json")})
    provenance.note(bundle.uri, run, trained)
    version = enter(config, run, bundle, evaluation)
    run.progress(2, 2, "bundle")
    return version


def _save(folder: str, fitted: Algorithm, features: ImageFeatures, trained: Trained, evaluation: Evaluation) -> None:
    """Model, transform, classes, calibration, the baseline for monitoring, and an example."""
    source = ImageSource.of(features)
    with files.localised(files.join(trained.uri, "model")) as model:
        predictor.save(
            folder,
            fitted,
            model,
            transform=source.transform,
            classes=features.classes,
            calibration=evaluation.calibration,
        )
        (temperature,) = evaluation.calibration["temperature"]
        answering = ImagePredictor(fitted.load(model), source.transform, features.classes, temperature)
        reference = Reference.of(_seen(answering, source, features))
        reference.write(str(Path(folder, REFERENCE)))
        answering = replace(answering, reference=reference)
        baseline, example = _baseline(answering, source, features)
    _write(folder, "baseline.json", json.loads(baseline.model_dump_json()))
    Path(folder, "example.png").write_bytes(thumbnail(example, max(example.shape[:2])))
    pyfunc.write(folder, str(Path(folder, "example.png")))


def _seen(answering: ImagePredictor, source: ImageSource, features: ImageFeatures) -> Iterator[Seen]:
    """How some of the training images are answered, and where the model sees them: the same ones however the files lie."""
    wanted = min(_MOST_BASELINE_ROWS, max(_REFERENCE_ROWS, _REFERENCE_ROWS_A_CLASS * len(answering.classes)))
    keys = _keys(source, features, "train")
    chosen = keys.take(pa.array(np.arange(0, len(keys), max(1, len(keys) // wanted))))
    some = pa.concat_tables(
        batch.filter(pc.is_in(batch[source.key], value_set=chosen)) for batch in source.batches("train", _BATCH_ROWS)
    ).sort_by(source.key)
    for start in range(0, some.num_rows, _BATCH_ROWS):
        yield answering.seen(source.decoded(some.slice(start, _BATCH_ROWS)))


def _keys(source: ImageSource, features: ImageFeatures, split: Split) -> Any:
    """The keys of a split in their order."""
    return tables.load(features.table, [source.key], source.wanted(split))[source.key].combine_chunks().sort()


def _baseline(answering: ImagePredictor, source: ImageSource, features: ImageFeatures) -> tuple[Baseline, np.ndarray]:
    """What the validation images look like, also as files, and how they were answered; and the first of them.

    Of very many those with the least keys, all in the order of their keys: the files may lie in any.
    """
    pictures = features.source
    sizes = tables.load(pictures, [pictures.data.key, "width", "height"])
    keys = sizes[pictures.data.key].combine_chunks()
    own = _keys(source, features, "validation")[:_MOST_BASELINE_ROWS]
    order, seen, sure, told, first = [], [], [], [], None
    for found in source.batches("validation", _BATCH_ROWS):
        batch = found.filter(pc.is_in(found[source.key], value_set=own))
        if not batch.num_rows:
            continue
        pixels = source.decoded(batch)
        given, distances = answering.placed(pixels)
        places: Any = pc.index_in(batch[source.key], value_set=keys)
        shape = np.stack([sizes[name].take(places).to_numpy() for name in ("width", "height")], axis=1)
        seen.append(np.concatenate([signals(pixels), shapes(shape), distances[:, None]], axis=1))
        sure.append(given.max(axis=1))
        told.append(given.argmax(axis=1))
        order.append(pc.index_in(batch[source.key], value_set=own).to_numpy())
        if 0 in order[-1]:
            first = pixels[np.flatnonzero(order[-1] == 0)[0]]
    assert first is not None
    place = np.argsort(np.concatenate(order))
    seen, sure, told = (np.concatenate(parts)[place] for parts in (seen, sure, told))
    decisions = [answering.classes[number] for number in told]
    return baseline_of(SEEN, seen, sure, decisions=decisions, actions=answering.classes), first


def _lineage(run: Run, features: ImageFeatures, trained: Trained) -> dict[str, Any]:
    """What the model was made from: tables by content id, the split, hyperparameters, code and environment."""
    described = {"features": features.table, "source": features.source}
    return {
        "recipe": run.recipe.rpartition("/")[2],  # not where it is: that would change the digest
        "seed": run.seed,
        "tables": {name: {"name": table.name, "snapshot": table.snapshot} for name, table in described.items()},
        "sources": dict(features.source.sources),
        "rows": dict(features.rows),
        "labelled": {part: dict(counts) for part, counts in features.labelled.items()},
        "algorithm": dict(trained.algorithm),
        **provenance.made_by(_CODE, run.recipe),
    }


def _write(folder: str, name: str, value: Any) -> None:
    Path(folder, name).write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
