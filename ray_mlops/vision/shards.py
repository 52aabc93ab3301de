"""Images packed into larger files: Parquet with a column of bytes, and tar shards in the WebDataset layout."""

import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ray_mlops.errors import DataError
from ray_mlops.platform.inputs import InputFile, digests, expand
from ray_mlops.platform.row_groups import footer
from ray_mlops.vision.sources import SUFFIXES, ImageSource, Piece, Sample

_BATCH_ROWS = 1 << 10
_IMAGE_ENDINGS = frozenset(suffix.lower().lstrip(".") for suffix in SUFFIXES)


class ImageParquet(ImageSource):
    """Parquet files (a file, a glob, a folder; local or `s3://`) with the bytes of an image in each row.

    The column of images is binary, or a struct with a field `bytes` as Hugging Face writes it; labels are strings or
    whole numbers (None: not labelled). Without a `key` column rows are named by file and number.
    """

    kind: Literal["parquet"] = "parquet"
    path: str | tuple[str, ...]
    image: str = "image"
    label: str | None = "label"
    group: str | None = None
    key: str | None = None
    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq", ".parq")

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns to read."""
        return tuple(filter(None, (self.image, self.label, self.group, self.key)))

    def identity(self) -> dict[str, str]:
        """The files and the digests of their content."""
        return digests(self._files())

    def pieces(self) -> list[Piece]:
        """A row group a piece."""
        return [piece for file in self._files() for piece in self._file_pieces(file)]

    def read(self, span: Mapping[str, Any]) -> Iterator[Sample]:
        """The rows of a row group."""
        return _read_group(self, InputFile.opened(span["file"]), span["number"], span["first"])

    def _files(self) -> list[InputFile]:
        return expand((self.path,) if isinstance(self.path, str) else self.path, self.suffixes)

    def _file_pieces(self, file: InputFile) -> Iterator[Piece]:
        known = footer(file)
        schema = known.schema.to_arrow_schema()
        for name in self.wanted:
            if name not in schema.names:
                have = ", ".join(schema.names)
                raise DataError(f"{file.label} has no column {name!r}; it has: {have}. Name the column in the recipe.")
        _check_types(file.label, self, schema)
        first = 0
        for number in range(known.num_row_groups):
            group = known.row_group(number)
            span = {"file": file.told(), "number": number, "first": first}
            yield Piece(self, file.label, group.total_byte_size, span)
            first += group.num_rows


def _check_types(label: str, source: ImageParquet, schema: pa.Schema) -> None:
    kind = schema.field(source.image).type
    inside = (
        kind.field("bytes").type if pa.types.is_struct(kind) and "bytes" in [field.name for field in kind] else kind
    )
    if not (pa.types.is_binary(inside) or pa.types.is_large_binary(inside)):
        raise DataError(f"{label}: column {source.image!r} is {kind}, not the bytes of image files.")
    if source.label is None:
        return
    kind = schema.field(source.label).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise DataError(f"{label}: the label {source.label!r} is {kind}; classes are strings or whole numbers.")


def _read_group(source: ImageParquet, file: InputFile, number: int, first: int) -> Iterator[Sample]:
    try:
        with pq.ParquetFile(file.filesystem.open_input_file(file.path)) as opened:
            batches = opened.iter_batches(_BATCH_ROWS, [number], columns=list(source.wanted), use_threads=False)
            for batch in batches:
                yield from _samples(source, file, batch, first)
                first += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file.label} cannot be read: {str(error).splitlines()[0]}. Write it again.") from error


def _samples(source: ImageParquet, file: InputFile, batch: pa.RecordBatch, first: int) -> Iterator[Sample]:
    images = batch.column(source.image)
    if pa.types.is_struct(images.type):
        images = images.field("bytes")
    keys = (
        batch.column(source.key).to_pylist()
        if source.key
        else [f"{file.name}/{first + at}" for at in range(len(images))]
    )
    labels = batch.column(source.label).to_pylist() if source.label else [None] * len(images)
    groups = batch.column(source.group).to_pylist() if source.group else [None] * len(images)
    for key, image, label, group in zip(keys, images, labels, groups, strict=True):
        yield Sample(str(key), image.as_py(), _text(label), _text(group))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


class TarShards(ImageSource):
    """Tar files (a file, a glob, a folder; local or `s3://`, also compressed) in the WebDataset layout.

    Members that share a name up to the first dot are one sample: `0001.jpg` the image, `0001.cls` or `0001.txt` the
    class, or `0001.json` an object with the class at `label` and the group at `group`. The key is `shard/name`.
    """

    kind: Literal["tar"] = "tar"
    path: str | tuple[str, ...]
    label: str = "label"
    group: str = "group"
    suffixes: ClassVar[tuple[str, ...]] = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

    def identity(self) -> dict[str, str]:
        """The shards and the digests of their content."""
        return digests(self._files())

    def pieces(self) -> list[Piece]:
        """A shard a piece."""
        return [Piece(self, file.label, file.size, {"file": file.told()}) for file in self._files()]

    def read(self, span: Mapping[str, Any]) -> Iterator[Sample]:
        """The samples of a shard."""
        return _read_shard(self, InputFile.opened(span["file"]))

    def _files(self) -> list[InputFile]:
        return expand((self.path,) if isinstance(self.path, str) else self.path, self.suffixes)


def _read_shard(source: TarShards, file: InputFile) -> Iterator[Sample]:
    try:
        with (
            file.filesystem.open_input_stream(file.path, compression=None) as stream,
            tarfile.open(fileobj=stream, mode="r|*") as shard,
        ):
            for name, members in _grouped(shard):
                yield _packed(source, f"{file.name}/{name}", members)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{file.label} is no readable tar file: {error}. It may be truncated: write it again."
        ) from error


def _grouped(shard: tarfile.TarFile) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """Sample by sample: its name, and the contents by ending. Members of a sample are neighbours."""
    current, members = "", {}
    for member in shard:
        path = PurePosixPath(member.name)
        if not member.isfile() or path.name.startswith((".", "_")):
            continue
        name, _, ending = path.name.partition(".")
        name = str(path.parent / name)
        if members and name != current:
            yield current, members
            members = {}
        opened = shard.extractfile(member)
        assert opened is not None
        current, members[ending.lower()] = name, opened.read()
    if members:
        yield current, members


def _packed(source: TarShards, key: str, members: Mapping[str, bytes]) -> Sample:
    image = next((content for ending, content in members.items() if ending.split(".")[-1] in _IMAGE_ENDINGS), None)
    told: Mapping[str, Any] = {}
    if "json" in members:
        try:
            found = json.loads(members["json"])
        except ValueError as error:
            raise DataError(f"{key}.json is no JSON: {error}.") from error
        told = found if isinstance(found, dict) else {}
    plain = next(
        (members[ending].decode(errors="replace").strip() for ending in ("cls", "txt") if ending in members), None
    )
    return Sample(key, image, plain or _text(told.get(source.label)), _text(told.get(source.group)))
