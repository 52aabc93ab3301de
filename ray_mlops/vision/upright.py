"""Pictures stored lying on their side or mirrored, as cameras do, made upright in the file itself."""

from io import BytesIO

import pyarrow as pa
from PIL import Image

from ray_mlops.contract import ImageSchema
from ray_mlops.vision.decoding import decode, probe, turns
from ray_mlops.vision.sources import content_hash

_CHECKED = 1 << 62  # the limit of pixels has been applied by now
_GREY = ("1", "L")


def upright(image: bytes) -> bytes:
    """The same file; or, where its EXIF orientation turns the picture, a PNG of what is to be seen."""
    if not turns(image):
        return image
    mode = "L" if probe(image).mode in _GREY else "RGB"
    pixels = decode(image, mode, maximum_pixels=_CHECKED)
    sink = BytesIO()
    Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels).save(sink, "PNG", compress_level=3)
    return sink.getvalue()


def all_upright(rows: pa.Table, schema: ImageSchema) -> pa.Table:
    """The rows of an image table with upright pictures, and the size and hash of what they are now."""
    before = rows[schema.image].to_pylist()
    images = [upright(image) for image in before]
    if all(new is old for new, old in zip(images, before, strict=True)):
        return rows
    headers = [probe(image) for image in images]
    columns = {
        schema.image: pa.array(images, pa.binary()),
        "width": pa.array([header.width for header in headers], pa.int64()),
        "height": pa.array([header.height for header in headers], pa.int64()),
        "hash": pa.array([content_hash(image) for image in images], pa.string()),
    }
    for name, column in columns.items():
        rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows
