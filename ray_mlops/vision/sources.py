"""What a source of images is: it names its content and cuts itself into pieces that are read independently.

No Ray in here: the ingest stage decides where the pieces are read. Nothing is judged either: a file that is no picture,
or is missing, becomes a row as well, for `clean` to quarantine.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import field_validator

from ray_mlops.contract import Frozen
from ray_mlops.vision.decoding import Header, Undecodable, probe

FILE_COST, OBJECT_COST = 4 << 10, 64 << 10
"""What opening a file, or an object of a store, costs, in bytes that could be read in that time: small ones fill a task by
their number."""
PIECE_BYTES = 16 << 20
SUFFIXES = tuple(
    suffix
    for name in ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
    for suffix in (f".{name}", f".{name.upper()}")
)


class Sample(NamedTuple):
    """One image of a source: `key` is unique in it, `image` the bytes of a file (None: there is no such file)."""

    key: str
    image: bytes | None
    label: str | None = None
    group: str | None = None


class Piece(NamedTuple):
    """A part of a source: `place` names what it belongs to, `size` is about what reading it costs, in bytes. `span` is what
    the source needs to know to read it, as JSON."""

    source: "ImageSource"
    place: str
    size: int
    span: Mapping[str, Any]

    def read(self) -> Iterator[Sample]:
        """Its samples, keys and labels as the table will have them."""
        prefix, rename = self.source.prefix, self.source.rename
        for sample in self.source.read(self.span):
            label = None if sample.label is None else rename.get(sample.label, sample.label)
            yield sample._replace(key=f"{prefix}{sample.key}", label=label)


class ImageSource(Frozen, ABC):
    """What every source of images has in common.

    `prefix` stands before its keys, so that two sources with equal names can go into one table; `rename` maps labels of
    the source to declared classes, others stay as they are.
    """

    prefix: str = ""
    rename: Mapping[str, str] = {}

    @field_validator("prefix")
    @classmethod
    def _ends_in_a_slash(cls, value: str) -> str:
        return f"{value.rstrip('/')}/" if value else ""

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """What is read, by name, and a digest of its content."""

    @abstractmethod
    def pieces(self) -> list[Piece]:
        """The parts to read; raises `DataError` when the source cannot be read."""

    @abstractmethod
    def read(self, span: Mapping[str, Any]) -> Iterator[Sample]:
        """The samples of a piece, keys and labels as the source has them."""


def rows(samples: Iterable[Sample], names: tuple[str, str, str, str]) -> pa.Table:
    """Samples as rows of the raw table: `names` are the columns of key, image, label and group; beside them the size
    that the file claims (null where it has no readable header) and the hash of its bytes."""
    found = list(samples)
    headers = [_header(sample.image) for sample in found]
    columns = {name: [sample[place] for sample in found] for place, name in enumerate(names)}
    key, image, label, group = names
    return pa.table(
        {
            key: pa.array(columns[key], pa.string()),
            image: pa.array(columns[image], pa.binary()),
            label: pa.array(columns[label], pa.string()),
            group: pa.array(columns[group], pa.string()),
            "width": pa.array([header and header.width for header in headers], pa.int64()),
            "height": pa.array([header and header.height for header in headers], pa.int64()),
            "hash": pa.array([content_hash(sample.image) for sample in found], pa.string()),
        }
    )


def content_hash(image: bytes | None) -> str | None:
    """The hash of the bytes of a file."""
    return None if image is None else hashlib.blake2b(image, digest_size=16).hexdigest()


def _header(image: bytes | None) -> Header | None:
    try:
        return None if image is None else probe(image)
    except Undecodable:
        return None
