"""Decide: is a model needed? Answers that cost nothing against quick models, on a sample of small pictures."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pydantic import Field

from ray_mlops.contract import CleanImages, Decision, Frozen, ImageProfile, Run
from ray_mlops.platform import files, tables
from ray_mlops.reports.image_decision_page import image_decision_page
from ray_mlops.reports.page import render
from ray_mlops.vision import candidates, metrics
from ray_mlops.vision.candidates import Candidate, Material
from ray_mlops.vision.features import ImageFeaturesConfig, read_all
from ray_mlops.vision.labelled import Labelled
from ray_mlops.vision.split import OUT
from ray_mlops.vision.transform import Transform
from ray_mlops.vision.verdict import Bar, Judgement, after_contest, before_contest

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
HASH = "phash"


class DecideConfig(Frozen):
    """When a gain counts, and how much is looked at: a sample of `max_rows` images, each class by its share, at most
    `max_side` pixels wide and high; `epochs` of the quick network."""

    bar: Bar = Bar()
    max_rows: int = Field(default=4_000, ge=100)
    max_side: int = Field(default=32, ge=4)
    epochs: int = Field(default=8, ge=1)


def run(
    config: DecideConfig, run: Run, *, table: CleanImages, profile: ImageProfile, features: ImageFeaturesConfig
) -> Decision:
    """Answer `use_ml | no_ml | collect_more | redefine`; writes `decision.json` and `report.html`."""
    known, held = Labelled.read(table), {}
    answer = before_contest(config.bar, known.classes, known.labels)
    data = {"Labelled images": len(known.labels), "Classes": len(known.classes)}
    if answer is None:
        earlier, later = _material(config, run, table, known, features)
        found = candidates.simple(earlier, later)
        found += candidates.models(earlier, later, known.classes, seed=run.seed, epochs=config.epochs)
        answer = after_contest(found, later.labels, config.bar, seed=run.seed)
        held = {one.kind: _figures(one, later.labels, run.seed, config.bar) for one in found}
        data |= {"Learnt from": len(earlier.labels), "Judged on": len(later.labels)}
    data |= {"Labels in doubt": len(profile.doubtful)}
    return _decided(run, table, answer, {"candidates": held, "data": data, "settings": config.model_dump(mode="json")})


def _decided(run: Run, table: CleanImages, answer: Judgement, record: dict[str, Any]) -> Decision:
    told = {"verdict": answer.answer, "reasons": list(answer.reasons), "hints": list(answer.hints), **record}
    report = files.join(run.uri, "report.html")
    files.write_json(files.join(run.uri, "decision.json"), told)
    files.write_text(report, render(image_decision_page(told, subtitle=f"{table.name}, snapshot {table.snapshot}")))
    return Decision(
        uri=run.uri,
        fingerprint=run.fingerprint,
        verdict=answer.answer,
        reasons=answer.reasons,
        hints=answer.hints,
        scores={kind: {"accuracy": one["accuracy"]} for kind, one in record["candidates"].items()},
        report=report,
    )


def _figures(candidate: Candidate, labels: np.ndarray, seed: int, bar: Bar) -> dict[str, Any]:
    right = candidate.predicted == labels
    low, high = metrics.interval(right, seed=seed, confidence=bar.confidence)
    return {"about": candidate.about, "accuracy": float(right.mean()), "low": low, "high": high}


def _material(
    config: DecideConfig, run: Run, table: CleanImages, known: Labelled, features: ImageFeaturesConfig
) -> tuple[Material, Material]:
    """What the candidates learn from and are judged on: a sample of the train part, and of validation and test."""
    parts = known.parts(features.split, seed=run.seed)
    chosen = _sample(known.labels, np.flatnonzero(parts != OUT), config.max_rows, run.seed)
    keys, data = known.keys.take(pa.array(chosen)).combine_chunks(), table.data
    rows = tables.load(table, [data.key, data.image, HASH], pc.field(data.key).isin(keys))
    rows = rows.take(pc.index_in(keys, value_set=rows[data.key].combine_chunks()))
    height, width = features.transform.size
    scale = min(1.0, config.max_side / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = Transform(size=size, mode=features.transform.mode, resize=features.transform.resize)
    pixels = read_all(rows[data.image].to_pylist(), small)
    material = Material(pixels, rows[HASH].to_numpy().astype(np.int64), known.labels[chosen])
    learnt = parts[chosen] == 0
    return material.rows(learnt), material.rows(~learnt)


def _sample(labels: np.ndarray, rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most about `most` of the rows, as many of each class as its share says, at least some of each."""
    if len(rows) <= most:
        return rows
    shuffled = np.random.default_rng(seed).permutation(rows)
    shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels[shuffled])
    wanted = np.maximum(np.ceil(counts * (most / len(rows))), np.minimum(counts, 20))
    starts = np.cumsum(counts) - counts
    place = np.arange(len(shuffled)) - starts[labels[shuffled]]
    return np.sort(shuffled[place < wanted[labels[shuffled]]])
