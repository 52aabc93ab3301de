"""The ways in which pictures come to `POST /predict`: as they are, in a form, or as base64 in JSON."""

import base64
import binascii
import re
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ray_mlops.serving.access import nesting
from ray_mlops.serving.edge import refused

KINDS = "an image (image/png, application/octet-stream, ...), multipart/form-data, or application/json with `image`"
_JSON = re.compile(r"application/([a-z0-9.+-]+\+)?json", re.IGNORECASE)
_RAW = re.compile(r"image/[a-z0-9.+*-]+|application/octet-stream", re.IGNORECASE)
_DATA_ADDRESS = re.compile(r"data:[a-z0-9./+-]*;base64,", re.IGNORECASE)


ONE = "image"


async def pictures(body: bytes, content_type: str | None, *, most: int) -> dict[str, bytes]:
    """The files in a body of at most `most` pictures by field: `ONE`, or `images.0`, `images.1`, ...

    Raises `BadRequest`: 415 for another type of content, 400 for a body that is not what its type says, 413 for too many,
    422 for JSON of another shape.
    """
    kind = (content_type or "application/octet-stream").partition(";")[0].strip()
    if _RAW.fullmatch(kind):
        return {ONE: body}
    if kind.lower() == "multipart/form-data":
        return await _from_form(body, content_type or "", most)
    if _JSON.fullmatch(kind):
        return _from_json(body, most)
    raise refused(415, f"is {content_type!r}; send {KINDS}", "content-type")


async def _from_form(body: bytes, content_type: str, most: int) -> dict[str, bytes]:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(Headers({"content-type": content_type}), whole(), max_files=most, max_fields=100)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        told = getattr(error, "message", "it has no boundary")
        raise refused(413 if "Too many files" in told else 400, f"the form cannot be read: {told}") from None
    try:
        found = [await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)]
    finally:
        await form.close()
    if not found:
        raise refused(422, "the form has no file; send the picture as a file", ONE)
    return {ONE: found[0]} if len(found) == 1 else {_field(place): file for place, file in enumerate(found)}


def _from_json(body: bytes, most: int) -> dict[str, bytes]:
    nesting.check(body)
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise refused(400, f"the body is not JSON: {error}") from None
    if not isinstance(given, dict) or given.keys() not in ({ONE}, {"images"}):
        raise refused(422, 'is neither {"image": "<base64>"} nor {"images": ["<base64>", ...]}')
    if ONE in given:
        return {ONE: decoded(given[ONE], ONE)}
    listed = given["images"]
    if not isinstance(listed, list) or not listed:
        raise refused(422, "should be a list of at least one picture in base64", "images")
    if len(listed) > most:
        raise refused(413, f"has {len(listed)} pictures; at most {most} are taken at once", "images")
    return {_field(place): decoded(value, _field(place)) for place, value in enumerate(listed)}


def _field(place: int) -> str:
    return f"images.{place}"


def decoded(value: Any, field: str) -> bytes:
    """The bytes in a text of base64, perhaps a data address; raises `BadRequest` 422 naming the field."""
    if not isinstance(value, str):
        raise refused(422, "should be the picture's bytes in base64", field)
    try:
        return base64.b64decode(_DATA_ADDRESS.sub("", value, count=1), validate=True)
    except (binascii.Error, ValueError) as error:
        raise refused(422, f"is not base64: {error}", field) from None
