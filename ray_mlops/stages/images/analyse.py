"""Analyse images: what they are like, which stand out, and whose label is in doubt; told as JSON and as a page.

Every image is decoded and measured once; those that the page shows are read once more.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pydantic import Field

from ray_mlops.contract import CleanImages, Frozen, ImageProfile, ImageSchema, Run
from ray_mlops.platform import files, tables
from ray_mlops.platform.table_parts import PART, Parts, load
from ray_mlops.reports.image_profile_page import image_profile_page
from ray_mlops.reports.page import render
from ray_mlops.vision import twins
from ray_mlops.vision.appraisal import MEASURES, appraise, notices
from ray_mlops.vision.decoding import decode
from ray_mlops.vision.features import unpacked
from ray_mlops.vision.label_noise import doubts, torn
from ray_mlops.vision.pictures import thumbnail
from ray_mlops.vision.quality import quality
from ray_mlops.vision.split import units
from ray_mlops.vision.stacks import in_shares, stacked
from ray_mlops.vision.transform import Transform

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
TWINS = "twins"
_SMALL = 16


class AnalyseConfig(Frozen):
    """How much is looked for, and how much is shown.

    A label is in doubt when of the `neighbours` nearest images a share of `agreement` have one other class; of more
    than `max_images` labelled images a sample is held against itself. The page shows `sheet` images of each of at most
    `shown_classes` classes, and up to `shown` of what stands out.
    """

    neighbours: int = Field(default=10, ge=2)
    agreement: float = Field(default=0.9, gt=0.5, le=1)
    max_images: int = Field(default=10_000, ge=0)
    sheet: int = Field(default=9, ge=1)
    shown_classes: int = Field(default=30, ge=1)
    shown: int = Field(default=16, ge=1)
    in_process_rows: int = Field(default=100_000, ge=0)


def run(config: AnalyseConfig, run: Run, *, table: CleanImages) -> ImageProfile:
    """Measure the images of a clean table; writes `profile.json` and `report.html`."""
    parts, data = Parts.of(table, config.in_process_rows), table.data
    wanted = _sampled(table, config.max_images, run.seed)
    work = partial(measure, data=data, wanted=wanted, threads=parts.threads)
    rows = pa.concat_tables(parts.over(work, run)).sort_by(data.key)
    labels = rows[data.label].to_pylist()
    classes = data.classes or tuple(sorted({label for label in labels if label is not None}))
    found = appraise(rows, labels, classes)
    found |= {"twins": table.twins, **_doubtful(config, rows, labels, classes, data=data)}
    found["notices"] = notices(found)
    chosen = _shown(config, rows, labels, found, data=data)
    pictures = _pictures(parts, rows, chosen, data=data, run=run)
    report = files.join(run.uri, "report.html")
    files.write_json(files.join(run.uri, "profile.json"), _by_key(found, rows[data.key].to_pylist()))
    named = {"keys": rows[data.key].to_pylist(), "labels": labels}
    page = image_profile_page(found, named, chosen, pictures, subtitle=f"{table.name}, snapshot {table.snapshot}")
    files.write_text(report, render(page))
    return ImageProfile(
        uri=run.uri,
        fingerprint=run.fingerprint,
        report=report,
        rows=rows.num_rows,
        classes=found["classes"],
        doubtful=tuple(rows[data.key][doubt["row"]].as_py() for doubt in found["doubtful"]),
    )


def _sampled(table: CleanImages, most: int, seed: int) -> pa.Array:
    """The keys of the labelled images that are held against one another."""
    data = table.data
    labelled = tables.load(table, [data.key], pc.field(data.label).is_valid())
    keys = labelled.sort_by(data.key)[data.key].combine_chunks()
    if len(keys) <= most:
        return keys
    return keys.take(pa.array(np.sort(np.random.default_rng(seed).choice(len(keys), most, replace=False))))


def measure(task: pa.Table, *, data: ImageSchema, wanted: pa.Array, threads: int) -> pa.Table:
    """A row an image: key, label, ties, size, measures, the part it lies in, and of the `wanted` ones small pixels."""
    rows = load(task)
    images, chosen = rows[data.image].to_pylist(), pc.is_in(rows[data.key], value_set=wanted).to_pylist()
    sizes = pc.multiply(rows["width"], rows["height"]).to_pylist()
    made = pa.concat_tables(in_shares(sizes, lambda share: _measured(images[share], chosen[share], data), threads))
    kept = rows.select([data.key, data.label, data.group, TWINS, "width", "height"])
    number = pa.array(np.full(rows.num_rows, task[PART][0].as_py()))
    columns = {name: table[name] for table in (kept, made) for name in table.column_names}
    return pa.table({**columns, "bytes": pc.binary_length(rows[data.image]).cast(pa.int64()), PART: number})


def _measured(images: Sequence[bytes], chosen: Sequence[bool], data: ImageSchema) -> pa.Table:
    """The measures of some images, and small pixels of the chosen ones."""
    pictures = [decode(image, data.mode, maximum_pixels=data.maximum_pixels) for image in images]
    small = Transform(size=(_SMALL, _SMALL), mode=data.mode)
    found = np.empty((len(MEASURES), len(images)))
    for places, pixels in stacked(pictures):
        found[:, places] = quality(pixels)
    kept = [small.apply(picture).tobytes() if keep else None for picture, keep in zip(pictures, chosen, strict=True)]
    return pa.table({**dict(zip(MEASURES, found, strict=True)), "small": pa.array(kept, pa.binary())})


def _doubtful(
    config: AnalyseConfig, rows: pa.Table, labels: Sequence[str | None], classes: Sequence[str], *, data: ImageSchema
) -> dict[str, Any]:
    """Labels that neighbours speak against, and twins with different labels."""
    tied = units(*(rows[name].to_numpy() for name in (data.group, TWINS)))
    legal = pc.and_(rows["small"].is_valid(), pc.is_in(rows[data.label], value_set=pa.array(classes)))
    held = np.flatnonzero(legal.to_numpy())
    channels = 3 if data.mode == "RGB" else 1
    pixels = unpacked(rows["small"].take(pa.array(held)), (_SMALL, _SMALL, channels))
    places = pc.index_in(rows[data.label].take(pa.array(held)), value_set=pa.array(classes)).to_numpy()
    noisy = doubts(pixels, places, tied[held], neighbours=config.neighbours, share=config.agreement)
    told = [{"row": int(held[one.row]), "likelier": classes[one.likelier], "share": one.share} for one in noisy]
    return {"doubtful": told, "compared": len(held), "torn": len(torn(labels, rows[TWINS].to_numpy()))}


def _shown(
    config: AnalyseConfig, rows: pa.Table, labels: Sequence[str | None], found: Mapping[str, Any], *, data: ImageSchema
) -> dict[str, dict[str, list[int]]]:
    """The rows that the page shows, by section and caption."""
    keys = rows[data.key].to_pylist()
    mixed = sorted(range(len(keys)), key=lambda row: hashlib.blake2b(keys[row].encode(), digest_size=8).digest())
    by_class: dict[str, list[int]] = {name: [] for name in list(found["classes"])[: config.shown_classes]}
    for row in mixed:
        some = by_class.get(labels[row] or "")
        if some is not None and len(some) < config.sheet:
            some.append(row)
    numbers = np.unique(rows[TWINS].to_numpy().astype(str), return_inverse=True)[1]
    clusters = twins.listed(numbers, np.arange(len(keys)).astype(object), np.array(labels, object))
    return {
        "sheets": by_class,
        "odd": {name: some[: config.shown] for name, some in found["odd"].items() if some},
        "twins": {f"{len(some)} images": list(some)[: config.shown // 2] for some in clusters[:1]}
        | {f"cluster {at + 2}": list(some)[: config.shown // 2] for at, some in enumerate(clusters[1:6])},
        "doubtful": {"": [doubt["row"] for doubt in found["doubtful"][: 2 * config.shown]]},
    }


def _pictures(
    parts: Parts, rows: pa.Table, chosen: Mapping[str, Mapping[str, Iterable[int]]], *, data: ImageSchema, run: Run
) -> dict[int, bytes]:
    """Small PNGs of the chosen rows."""
    wanted = sorted({row for named in chosen.values() for some in named.values() for row in some})
    keys, where = rows[data.key].to_pylist(), rows[PART].to_pylist()
    given: dict[int, dict[str, list[str]]] = {}
    for row in wanted:
        given.setdefault(where[row], {"keys": []})["keys"].append(keys[row])
    found = {}
    for made in parts.over(partial(thumbnails, data=data), run, given) if given else ():
        found |= dict(zip(made[data.key].to_pylist(), made["png"].to_pylist(), strict=True))
    return {row: found[keys[row]] for row in wanted}


def thumbnails(task: pa.Table, *, data: ImageSchema) -> pa.Table:
    """Key and small PNG of the named images of a part."""
    rows = load(task, [data.key, data.image])
    rows = rows.filter(pc.is_in(rows[data.key], value_set=pa.array(task["keys"][0].as_py())))
    images = (decode(image, data.mode, maximum_pixels=data.maximum_pixels) for image in rows[data.image].to_pylist())
    return pa.table({data.key: rows[data.key], "png": pa.array([thumbnail(pixels) for pixels in images], pa.binary())})


def _by_key(found: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The findings with keys for rows."""
    return {
        **found,
        "odd": {name: [keys[row] for row in some] for name, some in found["odd"].items()},
        "doubtful": [
            {"key": keys[doubt["row"]], **{k: doubt[k] for k in ("likelier", "share")}} for doubt in found["doubtful"]
        ],
    }
