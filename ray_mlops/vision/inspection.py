"""A raw image held against the declared schema: why it cannot be used, or what is needed to find its twins."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ray_mlops.contract import ImageSchema
from ray_mlops.vision.decoding import Undecodable, decode
from ray_mlops.vision.perceptual_hash import perceptual_hashes, reduced
from ray_mlops.vision.stacks import in_shares, stacked
from ray_mlops.vision.twins import SKETCH_SIDE, sketch

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

REASON, LOOK, SKETCH = "reason", "phash", "sketch"
MISSING, DUPLICATE, CONFLICT = "missing", "duplicate", "conflicting duplicate"


def inspect(rows: pa.Table, schema: ImageSchema, threads: int = 1) -> pa.Table:
    """For each row of the raw table the key, label, hash, `reason` (null: legal), `phash` and `sketch`."""
    images, labels = rows[schema.image].to_pylist(), rows[schema.label].to_pylist()
    sizes = pc.multiply(rows["width"], rows["height"]).to_pylist()
    found = in_shares(sizes, lambda share: _inspected(images[share], labels[share], schema), threads)
    kept = {name: rows[name] for name in (schema.key, schema.label, "hash")}
    return pa.table({**kept, **dict(zip((REASON, LOOK, SKETCH), pa.concat_tables(found).columns, strict=True))})


def _inspected(images: Sequence[bytes | None], labels: Sequence[str | None], schema: ImageSchema) -> pa.Table:
    seen = [look(image, label, schema) for image, label in zip(images, labels, strict=True)]
    reasons = [one if isinstance(one, str) else None for one in seen]
    legal = np.flatnonzero([reason is None for reason in reasons])
    looks, drawn = np.zeros(len(seen), np.int64), np.full(len(seen), None, object)
    for places, pixels in stacked([one for one in seen if not isinstance(one, str)]):
        looks[legal[places]] = perceptual_hashes(reduced(pixels))
        drawn[legal[places]] = [row.tobytes() for row in sketch(pixels)]
    given = pa.array(looks, mask=np.array([reason is not None for reason in reasons], bool))
    return pa.table({REASON: pa.array(reasons, pa.string()), LOOK: given, SKETCH: pa.array(drawn, pa.binary())})


def look(image: bytes | None, label: str | None, schema: ImageSchema) -> np.ndarray | str:
    """The pixels of one image, or the reason why it is unusable."""
    if image is None:
        return "image: missing, there was no such file"
    try:
        pixels = decode(
            image,
            schema.mode,
            maximum_pixels=schema.maximum_pixels,
            formats=schema.formats,
            minimum_side=schema.minimum_side,
        )
    except Undecodable as error:
        return f"image: {error.reason}"
    if label is not None and schema.classes and label not in schema.classes:
        return f"label: {label!r} is not a declared class"
    return pixels


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
