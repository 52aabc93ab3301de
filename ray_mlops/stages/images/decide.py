"""Decide: is a network needed? Simple candidates against a quick network on images that none of them has seen."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pydantic import Field

from ray_mlops.contract import CleanImages, Decision, Frozen, ImageProfile, ImageSchema, Run
from ray_mlops.errors import DataError
from ray_mlops.platform import files, tables
from ray_mlops.platform.table_parts import Parts, load
from ray_mlops.reports.image_decision_page import image_decision_page
from ray_mlops.reports.page import render
from ray_mlops.vision import split
from ray_mlops.vision.candidates import Material
from ray_mlops.vision.contest import hold
from ray_mlops.vision.features import ImageFeaturesConfig, packed, read_all, unpacked
from ray_mlops.vision.inspection import LOOK
from ray_mlops.vision.transform import Transform
from ray_mlops.vision.verdict import Bar, Draws, Judgement, Standing, after_contest, before_contest

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
TWINS = "twins"
_MOST_SIDE = 32
_THIRDS = split.Split(validation=1 / 3, test=1 / 3)


class DecideConfig(Frozen):
    """When a gain counts, and how many images are looked at.

    Of more than `max_images` labelled images a seeded sample is taken; they are looked at in the size of the features,
    at most 32 x 32. Up to `cross_images` of them, without a test set of their own, are judged all: in three folds, each by
    what was learned from the others. `bootstrap` is the number of resamples behind each interval.
    """

    bar: Bar = Bar()
    max_images: int = Field(default=10_000, ge=100)
    cross_images: int = Field(default=4_000, ge=0)
    bootstrap: int = Field(default=300, ge=20)
    in_process_rows: int = Field(default=100_000, ge=0)


def run(
    config: DecideConfig, run: Run, *, table: CleanImages, profile: ImageProfile, features: ImageFeaturesConfig
) -> Decision:
    """Answer `use_ml | no_ml | collect_more | redefine`; writes `decision.json` and `report.html`."""
    rows, classes = _chosen(config, table, run.seed)
    labels = pc.index_in(rows[table.data.label], value_set=pa.array(classes)).to_numpy().astype(np.int64)
    units = split.units(*(rows[name].to_numpy() for name in (table.data.group, TWINS)))
    given = _given(rows, table, features)
    # A part of few images could not tell a network from a linear probe: the verdict would be a matter of luck.
    crossed = len(labels) <= config.cross_images and not given.any()
    parts = split.assign(labels, units, _THIRDS if crossed else features.split, seed=run.seed, given=given)
    later = [parts == fold for fold in range(len(split.PARTS))] if crossed else [(parts == 1) | (parts == 2)]
    judged = np.any(later, axis=0)
    counts = {
        "images": dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True)),
        "judged": dict(zip(classes, np.bincount(labels[judged], minlength=len(classes)).tolist(), strict=True)),
    }
    conflicting = _conflicting(rows, table.data)
    answer, standings = before_contest(config.bar, **counts, conflicting=conflicting), {}
    if answer is None:
        found = _material(config, rows, (labels, units), table=table, transform=_small(features.transform), run=run)
        draws = Draws(units[judged], config.bootstrap, run.seed)
        folds = [(~part if crossed else parts == 0, part) for part in later]
        standings = hold(found, folds, len(classes), seed=run.seed)
        answer = after_contest(standings, draws, config.bar)
        counts["draws"] = {kind: draws.mean(one.right, config.bar.confidence) for kind, one in standings.items()}
    record = _record(config, answer, standings, counts=counts) | {
        "conflicting": conflicting,
        "crossed": crossed,
        "doubtful": len(profile.doubtful),
    }
    report = files.join(run.uri, "report.html")
    files.write_json(files.join(run.uri, "decision.json"), record)
    files.write_text(report, render(image_decision_page(record, subtitle=f"{table.name}, snapshot {table.snapshot}")))
    return Decision(
        uri=run.uri,
        fingerprint=run.fingerprint,
        verdict=answer.answer,
        reasons=answer.reasons,
        hints=answer.hints,
        scores={kind: candidate["figures"] for kind, candidate in record["candidates"].items()},
        report=report,
    )


def _chosen(config: DecideConfig, table: CleanImages, seed: int) -> tuple[pa.Table, tuple[str, ...]]:
    """All but the images of a sample of the labelled rows, by key, and the classes in order."""
    data = table.data
    columns = [data.key, data.label, data.group, LOOK, TWINS]
    rows = tables.load(table, columns, pc.field(data.label).is_valid()).sort_by(data.key)
    if rows.num_rows > config.max_images:
        some = np.random.default_rng(seed).choice(rows.num_rows, config.max_images, replace=False)
        rows = rows.take(pa.array(np.sort(some)))
    return rows, data.classes or tuple(sorted(rows[data.label].unique().to_pylist()))


def _given(rows: pa.Table, table: CleanImages, features: ImageFeaturesConfig) -> np.ndarray:
    beginning = features.split.test_keys
    if not beginning:
        return np.zeros(rows.num_rows, bool)
    return pc.starts_with(rows[table.data.key], beginning).to_numpy()


def _conflicting(rows: pa.Table, data: ImageSchema) -> float:
    """The share of images that have a twin with another label."""
    told = rows.select([TWINS, data.label]).group_by(TWINS).aggregate([(data.label, "count_distinct")])
    torn = told.filter(pc.greater(told[f"{data.label}_count_distinct"], 1))[TWINS]
    return (pc.sum(pc.is_in(rows[TWINS], value_set=torn.combine_chunks())).as_py() or 0) / max(rows.num_rows, 1)


def _small(transform: Transform) -> Transform:
    high, wide = transform.size
    by = max(1.0, max(high, wide) / _MOST_SIDE)
    return transform.model_copy(update={"size": (max(1, round(high / by)), max(1, round(wide / by)))})


def _material(
    config: DecideConfig,
    rows: pa.Table,
    places: tuple[np.ndarray, np.ndarray],
    *,
    table: CleanImages,
    transform: Transform,
    run: Run,
) -> Material:
    """The images of the chosen rows, in their order, with class places and units."""
    parts, data = Parts.of(table, config.in_process_rows), table.data
    keys = rows[data.key].combine_chunks()
    work = partial(_read, names=(data.key, data.image), keys=keys, transform=transform, threads=parts.threads)
    found = pa.concat_tables(parts.over(work, run)).sort_by(data.key)
    if found.num_rows != len(keys):
        raise DataError(
            f"{found.num_rows:,} of {len(keys):,} images of {table.name} were found: its files have changed."
        )
    return Material(unpacked(found[data.image], transform.shape), rows[LOOK].to_numpy(), *places)


def _read(task: pa.Table, *, names: tuple[str, str], keys: pa.Array, transform: Transform, threads: int) -> pa.Table:
    """Key and pixels of the wanted rows of a part."""
    key, image = names
    rows = load(task, [key, image])
    rows = rows.filter(pc.is_in(rows[key], value_set=keys))
    return pa.table({key: rows[key], image: packed(read_all(rows[image].to_pylist(), transform, threads))})


def _record(
    config: DecideConfig, answer: Judgement, standings: Mapping[str, Standing], *, counts: Mapping[str, Any]
) -> dict[str, Any]:
    """The decision as JSON: all that the page shows."""
    candidates = {}
    for kind, one in standings.items():
        interval = counts["draws"][kind]
        figures = {**one.figures, "accuracy_low": interval.low, "accuracy_high": interval.high}
        candidates[kind] = {"about": one.candidate.about, "figures": figures}
    return {
        "verdict": answer.answer,
        "reasons": list(answer.reasons),
        "hints": list(answer.hints),
        "simple": answer.simple,
        "gain": answer.gain and answer.gain.model_dump(),
        "candidates": candidates,
        "data": {"images": counts["images"], "judged": counts["judged"]},
        "settings": config.model_dump(mode="json"),
    }
