"""Evaluate a classifier of images: how good it is on the test rows, where it is mistaken, and against the champion."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from pydantic import Field

from ray_mlops import algorithms
from ray_mlops.contract import Algorithm, Decision, Evaluation, ImageFeatures, ModelVersion, Run, Trained
from ray_mlops.platform import files, tables
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.user_code import by_value
from ray_mlops.reports import image_exhibits
from ray_mlops.reports.image_evaluation_page import image_evaluation_page
from ray_mlops.reports.page import render
from ray_mlops.vision import metrics, temperature
from ray_mlops.vision.examination import Answers, Settings, examine, robustness
from ray_mlops.vision.features import SPLIT, TARGET, read_all
from ray_mlops.vision.parts import ImageSource
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.scoring import CHAMPION, PROBABILITIES, Scoring, unlisted

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
BATCH_ROWS = 512
PARTS = ("validation", "test")


class ImageEvaluateConfig(Settings):
    """How the model is judged, and where: more than `in_process_rows` images are scored on Ray."""

    in_process_rows: int = Field(default=20_000, ge=0)


def run(
    config: ImageEvaluateConfig,
    run: Run,
    *,
    features: ImageFeatures,
    trained: Trained,
    decision: Decision,
    algorithm: Algorithm,
    champion: ModelVersion | None = None,
) -> Evaluation:
    """Judge the trained model; writes `scores.parquet` (validation and test rows), `details.json` and `report.html`."""
    source, rival = ImageSource.of(features), _Rival.of(champion, features)
    scoring = Scoring(source, _fitted(algorithm, trained), files.join(trained.uri, "model"), rival.beside(source))
    rows = _scored(config, run, features, scoring)
    validation, test = (rows.filter(pc.equal(rows[SPLIT], part)) for part in PARTS)
    chosen = temperature.fitted(unlisted(validation[PROBABILITIES]), validation[TARGET].to_numpy())
    answers = Answers(temperature.scaled(unlisted(test[PROBABILITIES]), chosen), test[TARGET].to_numpy())
    found, details = examine(
        answers, features.classes, config, champion=rival.answers(test, features, source), seed=run.seed
    )
    predictor = ImagePredictor(scoring.predictor.model, source.transform, source.names, chosen)
    looked_at = _TestImages(features, source, test[source.key].combine_chunks())
    details |= {
        "ece_before": metrics.calibration_error(unlisted(test[PROBABILITIES]), answers.labels),
        "calibration": {"temperature": (chosen,)},
        "robustness": _robustness(config, run, predictor, answers, looked_at),
        "model": dict(trained.algorithm),
        "simple": {name: dict(scores) for name, scores in decision.scores.items()},
        "notes": [rival.note] if rival.note else [],
    }
    files.write_json(files.join(run.uri, "details.json"), details)
    files.write_text(files.join(run.uri, "report.html"), _page(config, run, details, answers, looked_at, predictor))
    _write_scores(run, rows, features, chosen)
    return Evaluation(
        uri=run.uri,
        fingerprint=run.fingerprint,
        champion=champion.version if champion else "",
        metrics=found,
        details=files.join(run.uri, "details.json"),
        calibration={"temperature": (chosen,)},
        report=files.join(run.uri, "report.html"),
    )


def _fitted(algorithm: Algorithm, trained: Trained) -> Algorithm:
    """The algorithm with the hyperparameters that the search found."""
    found = {name: value for name, value in trained.algorithm.items() if name not in ("kind", "class")}
    return algorithms.with_settings(algorithm, found)


# ---- the champion --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rival:
    """The champion to compare with, where there is one that knows the same classes; `note` says why there is not."""

    uri: str = ""
    predictor: ImagePredictor | None = None
    note: str = ""

    @classmethod
    def of(cls, champion: ModelVersion | None, features: ImageFeatures) -> "_Rival":
        if champion is None:
            return cls()
        predictor = ImagePredictor.load(Bundle.load(champion.uri, digest=champion.digest))
        if predictor.classes != features.classes:
            told = f"The champion, version {champion.version}, knows other classes, so it cannot be compared."
            return cls(note=told)
        return cls(champion.uri, predictor)

    def beside(self, source: ImageSource) -> str:
        """The bundle of a champion that takes the same pixels, so that it can be asked in the same pass."""
        return self.uri if self.predictor and self.predictor.transform == source.transform else ""

    def answers(self, test: pa.Table, features: ImageFeatures, source: ImageSource) -> np.ndarray | None:
        """Its probabilities of the test rows; a champion with another transform reads the files anew."""
        if self.predictor is None:
            return None
        if CHAMPION in test.column_names:
            return unlisted(test[CHAMPION])
        keys = test[source.key].combine_chunks()
        found = np.empty((len(keys), len(features.classes)))
        for part in tables.load_parts(features.source, [source.key, source.image], pc.field(source.key).isin(keys)):
            for start in range(0, part.num_rows, BATCH_ROWS):
                rows = part.slice(start, BATCH_ROWS)
                pixels = read_all(rows[source.image].to_pylist(), self.predictor.transform)
                found[pc.index_in(rows[source.key], value_set=keys).to_numpy()] = self.predictor.probabilities(pixels)
        return found


# ---- scoring -------------------------------------------------------------------------------------------------------


def _scored(config: ImageEvaluateConfig, run: Run, features: ImageFeatures, scoring: Scoring) -> pa.Table:
    """The scored validation and test rows by key: in this process when few, else on Ray; the same rows."""
    count = sum(features.rows[part] for part in PARTS)
    batches = _here(scoring) if count <= config.in_process_rows else _on_ray(features, scoring)
    parts: list[pa.Table] = []
    for batch in batches:
        parts.append(batch)
        run.progress(sum(part.num_rows for part in parts), count, "images")
    return pa.concat_tables(parts).sort_by(scoring.source.key).combine_chunks()


def _here(scoring: Scoring) -> Iterator[pa.Table]:
    for part in PARTS:
        for batch in scoring.source.batches(part, BATCH_ROWS):
            yield scoring(batch)


def _on_ray(features: ImageFeatures, scoring: Scoring) -> Iterator[Any]:
    source = scoring.source
    columns = [source.key, source.image, TARGET, SPLIT]
    with by_value(scoring.algorithm):
        scored = tables.read(features.table, columns).map_batches(
            _ScoreBatch,
            fn_constructor_args=(scoring,),
            batch_size=BATCH_ROWS,
            batch_format="pyarrow",
            concurrency=(1, 64),
        )
        yield from scored.iter_batches(batch_size=None, batch_format="pyarrow")


class _ScoreBatch:
    """An actor with the model loaded once."""

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self._scoring(batch.filter(pc.field(SPLIT).isin(PARTS)))


def _write_scores(run: Run, rows: pa.Table, features: ImageFeatures, chosen: float) -> None:
    """Class told, its calibrated probability and the true class of each validation and test row."""
    given = temperature.scaled(unlisted(rows[PROBABILITIES]), chosen)
    names = pa.array(features.classes)
    table = rows.select([features.table.data.key, SPLIT])
    table = table.append_column("label", names.take(rows[TARGET].combine_chunks()))
    table = table.append_column("class", names.take(pa.array(given.argmax(axis=1))))
    table = table.append_column("probability", pa.array(given.max(axis=1)))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    files.write_bytes(files.join(run.uri, "scores.parquet"), sink.getvalue().to_pybytes())


# ---- what is looked at -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _TestImages:
    """The test images by the place of their scored row."""

    features: ImageFeatures
    source: ImageSource
    keys: pa.Array

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Their pixels, uint8 `(places, height, width, channels)`."""
        return self.source.decoded(_by_key(self.features.table, self.source, self.keys.take(pa.array(places))))


def _by_key(table: Any, source: ImageSource, keys: Any) -> pa.Table:
    """The images of some keys, in their order."""
    rows = tables.load(table, [source.key, source.image], pc.field(source.key).isin(keys))
    wanted = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    return rows.take(pc.index_in(wanted, value_set=rows[source.key].combine_chunks()))


def _robustness(
    config: ImageEvaluateConfig, run: Run, predictor: ImagePredictor, answers: Answers, images: _TestImages
) -> list[Mapping[str, Any]]:
    count = min(config.robustness_rows, len(answers.labels))
    places = np.sort(np.random.default_rng(run.seed).choice(len(answers.labels), count, replace=False))
    return list(robustness(predictor, images(places), answers.labels[places]))


def _page(
    config: ImageEvaluateConfig,
    run: Run,
    details: Mapping[str, Any],
    answers: Answers,
    images: _TestImages,
    predictor: ImagePredictor,
) -> str:
    names = images.features.classes
    page = image_evaluation_page(
        details,
        pairs=image_exhibits.pairs(answers, names, config, images),
        errors=image_exhibits.errors(answers, names, config, images, predictor.model.explain),
        subtitle=f"{run.recipe}, run {run.id}",
    )
    return render(page)
