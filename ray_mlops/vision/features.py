"""How images become what a network is given: the config of the features stage, and its outcome row by row."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.vision.split import Split
from ray_mlops.vision.transform import Transform

TARGET, SPLIT = "target", "split"
_SHARES = 4  # of a thread: files differ in size
Stored = Literal["pixels", "bytes"]
_MOST_PIXELS = 64 * 64  # beyond, files are so much smaller than pixels that decoding again costs less than reading


class ImageFeaturesConfig(Frozen):
    """The transform, the split, and what the feature table holds.

    `stored` `pixels` decodes every image once; `bytes` keeps the files and decodes them whenever they are read; `auto`
    takes pixels up to 64 x 64. Up to `in_process_rows` images, where they are small, are read in this process.
    """

    transform: Transform = Transform(size=(32, 32))
    split: Split = Split()
    stored: Literal["auto", "pixels", "bytes"] = "auto"
    in_process_rows: int = Field(default=100_000, ge=0)

    @property
    def keeps(self) -> Stored:
        """`pixels` or `bytes`."""
        if self.stored != "auto":
            return self.stored
        height, width = self.transform.size
        return "pixels" if height * width <= _MOST_PIXELS else "bytes"


def read_all(files: Sequence[bytes], transform: Transform, threads: int = 1) -> np.ndarray:
    """Transform many files: uint8 `(files, height, width, channels)`; raises `Undecodable` for the first that is none."""
    made = np.empty((len(files), *transform.shape), np.uint8)

    def read(start: int) -> None:
        for place in range(start, min(start + share, len(files))):
            made[place] = transform.read(files[place])

    # Threads that take one small picture at a time would mostly wait for one another.
    share = max(1, -(-len(files) // (_SHARES * threads)))
    with ThreadPoolExecutor(threads) as pool:  # decoders let other threads run
        list(pool.map(read, range(0, len(files), share)))
    return made


def packed(pixels: np.ndarray) -> pa.Array:
    """A binary column with the pixels of each image `(rows, height, width, channels)` uint8."""
    size = int(np.prod(pixels.shape[1:]))
    offsets = np.arange(len(pixels) + 1, dtype=np.int32) * np.int32(size)
    content = pa.py_buffer(np.ascontiguousarray(pixels).reshape(-1))
    return pa.Array.from_buffers(pa.binary(), len(pixels), [None, pa.py_buffer(offsets), content])


def unpacked(column: pa.ChunkedArray, shape: tuple[int, int, int]) -> np.ndarray:
    """The pixels of a column that `packed` made; a view where the column is one chunk."""
    size = int(np.prod(shape))
    found = []
    for chunk in column.chunks:
        content = np.frombuffer(chunk.buffers()[2] or b"", np.uint8)
        start = int(np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset]) if len(chunk) else 0
        found.append(content[start : start + size * len(chunk)].reshape(len(chunk), *shape))
    if len(found) == 1:
        return found[0]
    return np.concatenate(found) if found else np.empty((0, *shape), np.uint8)
