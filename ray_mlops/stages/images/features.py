"""Features: every labelled image through the one transform, and the split, as one table.

The columns of the table are key, `image` (pixels or the file's bytes), `target` and `split`. Images without a label are
not in it, nor are those that a given test set rules out (see `vision.split`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ray_mlops.contract import ImageFeatures, ImageTable, Run
from ray_mlops.errors import ConfigError, DataError
from ray_mlops.platform import files, tables
from ray_mlops.platform.cores import cores
from ray_mlops.platform.table_parts import Parts, load
from ray_mlops.vision.features import SPLIT, TARGET, ImageFeaturesConfig, packed, read_all
from ray_mlops.vision.labelled import Labelled
from ray_mlops.vision.split import OUT, PARTS

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


def run(config: ImageFeaturesConfig, run: Run, *, table: ImageTable) -> ImageFeatures:
    """Transform and split the labelled images of a clean table.

    Raises `ConfigError` when transform and table disagree, and `DataError` when a class has nothing to learn from or
    there are fewer than two.
    """
    if config.transform.mode != table.data.mode:
        raise ConfigError(
            f"features.transform.mode is {config.transform.mode}, but the images are read as {table.data.mode}"
        )
    found = Labelled.read(table)
    _refuse_one_class(found.classes)
    parts = found.parts(config.split, seed=run.seed)
    counts = _counted(found.labels, parts, found.classes)
    kept = np.flatnonzero(parts != OUT)
    plan = pa.table(
        {
            table.data.key: found.keys.take(pa.array(kept)),
            TARGET: found.labels[kept],
            SPLIT: pa.array(PARTS).take(pa.array(parts[kept])),
        }
    )
    transform = files.join(run.uri, "transform.json")
    files.write_text(transform, config.transform.model_dump_json(indent=1))
    return ImageFeatures(
        uri=run.uri,
        fingerprint=run.fingerprint,
        table=_write(config, run, table, plan),
        classes=found.classes,
        transform=transform,
        stored=config.keeps,
        shape=config.transform.shape,
        source=table.plain(),
        rows={part: sum(counts[part].values()) for part in PARTS},
        labelled=counts,
    )


def _refuse_one_class(classes: Sequence[str]) -> None:
    if len(classes) < 2:
        found = f"all labelled images are {classes[0]!r}" if classes else "no image has a label"
        raise DataError(f"features: {found}: there is nothing to tell apart. Check how the source gives the label.")


def _counted(labels: np.ndarray, parts: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Rows of each part by class; DataError for a class that one of the parts lacks."""
    found = {}
    for place, part in enumerate(PARTS):
        counts = np.bincount(labels[parts == place], minlength=len(classes)).tolist()
        found[part] = dict(zip(classes, counts, strict=True))
        if missing := [name for name, count in found[part].items() if not count]:
            raise DataError(
                f"features: {part} has no image of {_named(labels, classes, missing)}: every class needs at least three "
                "images that are no duplicates of one another. Add some, leave the class out, or change the split."
            )
    return found


def _named(labels: np.ndarray, classes: Sequence[str], missing: Sequence[str]) -> str:
    counts = dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))
    return ", ".join(f"{name} ({counts[name]} in all)" for name in missing[:5])


# ---- the images ----------------------------------------------------------------------------------------------------


def _write(config: ImageFeaturesConfig, run: Run, table: ImageTable, plan: pa.Table) -> ImageTable:
    """Commit the feature table: in this process when small, else on Ray; the rows are the same."""
    name = f"{table.name.rpartition('.')[0] or run.recipe}.features"
    data, sources = table.data, {table.name: table.snapshot}
    columns = [data.key, data.image]
    parts = Parts.of(table, config.in_process_rows)
    if parts.in_process:
        finish = partial(_finish, config=config, plan=plan, data=(data.key, data.image))
        made = parts.rows(lambda task: finish(load(task, columns)))
        return tables.write_images(made, name, run, data=data, sources=sources)
    import ray

    shared = ray.put(plan)
    finish = partial(_finish_block, config=config, plan=shared, data=(data.key, data.image))
    rows = tables.read(table, columns).map_batches(finish, batch_size=None, batch_format="pyarrow")
    return tables.write_images(rows, name, run, data=data, sources=sources)


def _finish_block(batch: pa.Table, *, config: ImageFeaturesConfig, plan: Any, data: tuple[str, str]) -> pa.Table:
    import ray

    return _finish(batch, config=config, plan=ray.get(plan), data=data)


def _finish(batch: pa.Table, *, config: ImageFeaturesConfig, plan: pa.Table, data: tuple[str, str]) -> pa.Table:
    """The rows of the feature table among rows of the clean table."""
    key, image = data
    places = pc.index_in(batch[key], value_set=plan[key].combine_chunks())
    chosen = places.is_valid()
    batch, planned = batch.filter(chosen), plan.take(places.drop_null())
    stored = batch[image]
    if config.keeps == "pixels":
        stored = packed(read_all(stored.to_pylist(), config.transform, cores()))
    return planned.add_column(1, image, stored)
