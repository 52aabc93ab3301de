"""How deep JSON may nest, measured before a parser follows it down."""

import re

import numpy as np

from ray_mlops.serving.edge import refused

MOST = 32  # a transaction needs two levels, a batch of pictures with channels six
_JSON_TYPE = re.compile(r"application/([a-z0-9.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
# Nothing is ever tried again, so that unfinished strings and escapes cannot make it slow.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


def checked(body: bytes, content_type: str | None) -> bytes:
    """A body that a parser of JSON may read. Raises `BadRequest`: 415 where it is declared as something else, 400 where it
    nests too deep."""
    if content_type is not None and not _JSON_TYPE.fullmatch(content_type.strip()):
        raise refused(415, f"is {content_type!r}; send application/json", "content-type")
    check(body)
    return body


def check(body: bytes) -> None:
    """Raises `BadRequest` 400 for a body that nests deeper than `MOST`."""
    if body.count(b"[") + body.count(b"{") <= MOST:  # nearly all bodies
        return
    steps = _STEPS[np.frombuffer(_STRING.sub(b"", body), np.uint8)]
    if np.cumsum(steps, dtype=np.int32).max(initial=0) > MOST:
        raise refused(400, f"the body nests deeper than {MOST} levels; send plain fields and lists")
