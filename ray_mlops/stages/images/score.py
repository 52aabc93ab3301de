"""Score images: batch inference with a registered version, by the predictor that also answers over HTTP.

Ray reads and scores the pieces of the source in parallel; a process loads the model once. A few pictures are scored in
this process, all of its cores on one batch: on Ray the processes would take longer to start. What is no picture is told
in the column `error` and stops nothing.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa

from ray_mlops.contract import ModelVersion
from ray_mlops.errors import DataError
from ray_mlops.platform import row_groups
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.cores import cores
from ray_mlops.vision.decoding import Undecodable
from ray_mlops.vision.folders import ImageFolder
from ray_mlops.vision.pieces import packed, unpacked
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.shards import ImageParquet, TarShards
from ray_mlops.vision.sources import ImageSource, Piece, Sample

BATCH_ROWS = 64
HERE_BYTES = 64 << 20  # of image files at most, which a process has scored before others would have started
_COLUMNS = pa.schema(
    [("id", pa.string()), ("class", pa.string()), ("probability", pa.float64()), ("error", pa.string())]
)


def score_images(version: ModelVersion, path: str, out: str, *, here_bytes: int = HERE_BYTES) -> int:
    """Score a folder of images, a Parquet file with them, or tar shards into the Parquet file `out`; returns the rows.

    The result has `id` (the path below the folder, or the key), `class`, `probability`, `error` and `version`, sorted by
    `id`. Up to `here_bytes` of files are scored in this process, the same, unless the cluster has a GPU. Raises
    `DataError` when there is nothing to score; then nothing is written.
    """
    pieces = _source(path).pieces()
    if not pieces:
        raise DataError(f"{path} has no images to score")
    batches = _scored(version, pieces, here_bytes)
    found = pa.concat_tables(batches).sort_by("id")
    row_groups.write(found.append_column("version", pa.array([version.version] * found.num_rows, pa.string())), out)
    return found.num_rows


def _scored(version: ModelVersion, pieces: list[Piece], here_bytes: int) -> Iterable[pa.Table]:
    import ray

    cluster = ray.cluster_resources()
    if not cluster.get("GPU") and sum(piece.size for piece in pieces) <= here_bytes:
        return _Scorer(version.uri, version.digest).over(pieces)
    import ray.data

    tasks = [pa.table({"pieces": [packed([piece])]}) for piece in pieces]
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
    return scored.iter_batches(batch_size=None, batch_format="pyarrow")


def _source(path: str) -> ImageSource:
    """What lies at a path, by its ending."""
    if path.lower().endswith(ImageParquet.suffixes):
        return ImageParquet(path=path, label=None)
    return TarShards(path=path) if path.lower().endswith(TarShards.suffixes) else ImageFolder(path=path)


class _Scorer:
    """A process with the model loaded once, after every file of the bundle was checked."""

    def __init__(self, uri: str, digest: str) -> None:
        self._predictor = ImagePredictor.load(Bundle.load(uri, digest=digest))
        self._readers = ThreadPoolExecutor(cores())

    def __call__(self, tasks: pa.Table) -> Iterator[pa.Table]:
        for pieces in tasks.column("pieces").to_pylist():
            yield from self.over(unpacked(pieces))

    def over(self, pieces: list[Piece]) -> Iterator[pa.Table]:
        """Score some pieces, each batch while the pictures of the next are being decoded."""
        samples = chain.from_iterable(piece.read() for piece in pieces)
        ready = self._begun(samples)
        while ready:
            following = self._begun(samples)
            yield self._told(*ready)
            ready = following

    def _begun(self, samples: Iterator[Sample]) -> tuple[list[Sample], Iterator[Any]] | None:
        """The next batch, whose pictures come as soon as they are decoded; None at the end."""
        batch = list(islice(samples, BATCH_ROWS))
        return (batch, self._readers.map(self._read, batch)) if batch else None

    def _told(self, samples: list[Sample], pictures: Iterator[Any]) -> pa.Table:
        read = list(pictures)
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
