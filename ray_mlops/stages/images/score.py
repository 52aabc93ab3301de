"""Score images: batch inference with a registered version, by the predictor that also answers over HTTP.

Ray reads and scores the pieces of the source in parallel; a process loads the model once. What is no picture is told in
the column `error` and stops nothing.
"""

import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from ray_mlops.contract import ModelVersion
from ray_mlops.errors import DataError
from ray_mlops.platform import row_groups
from ray_mlops.platform.bundle import Bundle
from ray_mlops.vision.decoding import Undecodable
from ray_mlops.vision.folders import ImageFolder
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.shards import ImageParquet, TarShards
from ray_mlops.vision.sources import ImageSource, Sample

BATCH_ROWS = 256
_COLUMNS = pa.schema(
    [("id", pa.string()), ("class", pa.string()), ("probability", pa.float64()), ("error", pa.string())]
)


def score_images(version: ModelVersion, path: str, out: str) -> int:
    """Score a folder of images, a Parquet file with them, or tar shards into the Parquet file `out`; returns the rows.

    The result has `id` (the path below the folder, or the key), `class`, `probability`, `error` and `version`, sorted by
    `id`. Raises `DataError` when there is nothing to score; then nothing is written.
    """
    import ray
    import ray.data

    pieces = _source(path).pieces()
    if not pieces:
        raise DataError(f"{path} has no images to score")
    tasks = [pa.table({"piece": pa.array([pickle.dumps(piece)], pa.large_binary())}) for piece in pieces]
    cluster = ray.cluster_resources()
    gpus: dict[str, Any] = {"num_gpus": 1} if cluster.get("GPU") else {}
    workers = ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, int(cluster.get("GPU") or cluster.get("CPU", 1))))
    scored = ray.data.from_arrow(tasks).map_batches(
        _Scorer,
        fn_constructor_args=(version.uri, version.digest),
        batch_size=None,
        batch_format="pyarrow",
        compute=workers,
        **gpus,
    )
    found = pa.concat_tables(scored.iter_batches(batch_size=None, batch_format="pyarrow")).sort_by("id")
    row_groups.write(found.append_column("version", pa.array([version.version] * found.num_rows, pa.string())), out)
    return found.num_rows


def _source(path: str) -> ImageSource:
    """What lies at a path, by its ending."""
    if path.lower().endswith(ImageParquet.suffixes):
        return ImageParquet(path=path, label=None)
    return TarShards(path=path) if path.lower().endswith(TarShards.suffixes) else ImageFolder(path=path)


class _Scorer:
    """A process with the model loaded once, after every file of the bundle was checked."""

    def __init__(self, uri: str, digest: str) -> None:
        self._predictor = ImagePredictor.load(Bundle.load(uri, digest=digest))
        self._readers = ThreadPoolExecutor(os.cpu_count() or 1)

    def __call__(self, tasks: pa.Table) -> Iterator[pa.Table]:
        for task in tasks.to_pylist():
            samples = iter(pickle.loads(task["piece"]).read())
            while batch := list(islice(samples, BATCH_ROWS)):
                yield self._scored(batch)

    def _scored(self, samples: list[Sample]) -> pa.Table:
        read = list(self._readers.map(self._read, samples))
        legal = [picture for picture in read if isinstance(picture, np.ndarray)]
        given = iter(self._predictor.probabilities(np.stack(legal)) if legal else ())
        rows = []
        for sample, picture in zip(samples, read, strict=True):
            if isinstance(picture, str):
                rows.append({"id": sample.key, "class": None, "probability": None, "error": picture})
            else:
                rows.append({"id": sample.key, "error": None, **self._predictor.top(next(given), 1)[0]})
        return pa.Table.from_pylist(rows, _COLUMNS)

    def _read(self, sample: Sample) -> Any:
        """The pixels, or why there are none."""
        try:
            return self._predictor.transform.read(sample.image or b"")
        except Undecodable as error:
            return str(error)
