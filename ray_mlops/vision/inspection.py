"""A raw image held against the declared schema: why it cannot be used, or what is needed to find its twins."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ray_mlops.contract import ImageSchema
from ray_mlops.vision.decoding import Undecodable, decode, probe
from ray_mlops.vision.perceptual_hash import perceptual_hashes, reduced
from ray_mlops.vision.twins import SKETCH_SIDE, sketch

REASON, LOOK, SKETCH = "reason", "phash", "sketch"
MISSING, DUPLICATE, CONFLICT = "missing", "duplicate", "conflicting duplicate"


class Seen(NamedTuple):
    """One image: the `reason` why it is unusable, or its reduced forms."""

    reason: str | None
    small: np.ndarray | None = None
    sketch: np.ndarray | None = None


def inspect(rows: pa.Table, schema: ImageSchema, threads: int = 1) -> pa.Table:
    """For each row of the raw table the key, label, hash, `reason` (null: legal), `phash` and `sketch`."""
    pairs = list(zip(rows[schema.image].to_pylist(), rows[schema.label].to_pylist(), strict=True))
    with ThreadPoolExecutor(threads) as pool:  # decoders let other threads run
        seen = list(pool.map(lambda pair: look(pair[0], pair[1], schema), pairs))
    legal = [one.reason is None for one in seen]
    smalls = [one.small for one in seen if one.small is not None]
    looks = np.zeros(len(seen), np.int64)
    looks[legal] = perceptual_hashes(np.stack(smalls)) if smalls else ()
    return pa.table(
        {
            schema.key: rows[schema.key],
            schema.label: rows[schema.label],
            "hash": rows["hash"],
            REASON: pa.array([one.reason for one in seen], pa.string()),
            LOOK: pa.array(looks, mask=~np.array(legal, bool)),
            SKETCH: pa.array([None if one.sketch is None else one.sketch.tobytes() for one in seen], pa.binary()),
        }
    )


def look(image: bytes | None, label: str | None, schema: ImageSchema) -> Seen:
    """Decode one image and say what it is."""
    if image is None:
        return Seen("image: missing, there was no such file")
    try:
        header = probe(image)
        if header.format not in schema.formats:
            return Seen(f"image: format {header.format} is not declared")
        if min(header.width, header.height) < schema.minimum_side:
            return Seen(f"image: too small, a side is below {schema.minimum_side} pixels")
        pixels = decode(image, schema.mode, maximum_pixels=schema.maximum_pixels)
    except Undecodable as error:
        return Seen(f"image: {error.reason}")
    if label is not None and schema.classes and label not in schema.classes:
        return Seen(f"label: {label!r} is not a declared class")
    return Seen(None, reduced(pixels), sketch(pixels))


def sketches(column: pa.ChunkedArray, schema: ImageSchema) -> np.ndarray:
    """The sketches of legal rows as one array `(rows, values)` uint8."""
    size = SKETCH_SIDE * SKETCH_SIDE * (3 if schema.mode == "RGB" else 1)
    return np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, size)


def misnamed(keys: Sequence[str | None], contents: Sequence[object]) -> dict[int, str]:
    """Places of rows with no key of their own, with the reason: those without any, all but the first of rows with equal
    content, all rows of a key where the contents differ."""
    known: dict[str | None, list[int]] = {}
    for place, key in enumerate(keys):
        known.setdefault(key, []).append(place)
    found = dict.fromkeys(known.pop(None, ()), MISSING)
    for places in known.values():
        same = len({contents[place] for place in places}) == 1
        wrong = places[1:] if same else places
        found |= dict.fromkeys(wrong, DUPLICATE if same else CONFLICT)
    return found
