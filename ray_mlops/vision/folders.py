"""Images that lie as files: a folder with a directory per class, or a manifest that lists paths and labels."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from pyarrow import fs
from pydantic import field_validator

from ray_mlops.errors import DataError
from ray_mlops.platform import files
from ray_mlops.platform.digest_index import folder_digest
from ray_mlops.platform.inputs import InputFile, digests, expand
from ray_mlops.vision.sources import FILE_COST, OBJECT_COST, PIECE_BYTES, SUFFIXES, ImageSource, Piece, Sample

_READERS = 16


class Member(NamedTuple):
    """A file that holds an image: its place in the file system (None: there is no such file) and what is said of it."""

    path: str | None
    key: str
    label: str | None
    group: str | None


class ImageFolder(ImageSource):
    """A folder with a directory per class; local or `s3://`. The key of an image is its path below the folder.

    `class_level` says which directory names the class: 0 the one below `path`, -1 the one that holds the file. `group`
    is a regular expression searched in the key: its first parenthesis (or all it matches) is the group.
    """

    kind: Literal["folder"] = "folder"
    path: str
    class_level: int = 0
    group: str | None = None
    suffixes: tuple[str, ...] = SUFFIXES

    @field_validator("group")
    @classmethod
    def _is_an_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value

    def identity(self) -> dict[str, str]:
        """The folder and a digest of the names and contents in it; see `digest_index`."""
        root = self._root()
        return {root: folder_digest(root, self._files())}

    def pieces(self) -> list[Piece]:
        """Some thousand small files a piece."""
        found, root = self._files(), self._root()
        members = [self._member(file, file.label.removeprefix(root).lstrip("/")) for file in found]
        return list(_pieces(self, root, members, sizes=[file.size for file in found]))

    def read(self, span: Mapping[str, Any]) -> Iterator[Sample]:
        """The files of a piece."""
        return _read(span)

    def _files(self) -> list[InputFile]:
        return expand((self.path,), self.suffixes, empty_too=True)

    def _root(self) -> str:
        return self.path.rstrip("/") if files.is_remote(self.path) else files.absolute(self.path)

    def _member(self, file: InputFile, key: str) -> Member:
        folders = PurePosixPath(key).parts[:-1]
        inside = -len(folders) <= self.class_level < len(folders)
        found = re.search(self.group, key) if self.group else None
        group = None if found is None else found.group(1) if found.re.groups else found.group()
        return Member(file.path, key, folders[self.class_level] if inside else None, group)


class Manifest(ImageSource):
    """A list of images: CSV with a header, a JSON array of objects, or JSON lines; local or `s3://`.

    Paths are relative to `root` (default: the folder of the manifest) or whole. The key of an image is its path as the
    list has it, unless a column is named. A listed file that is not there becomes a row without an image.
    """

    kind: Literal["manifest"] = "manifest"
    path: str
    root: str | None = None
    image: str = "path"
    label: str = "label"
    group: str | None = None
    key: str | None = None

    def identity(self) -> dict[str, str]:
        """The list with its digest, and one digest of all files it names."""
        there = [file for file in self._files(self._entries()) if file is not None]
        place = f"{self._list().label}#files"
        return {**digests([self._list()]), place: folder_digest(place, there)}

    def pieces(self) -> list[Piece]:
        """Some thousand small files a piece."""
        entries = self._entries()
        found = self._files(entries)
        members = [
            Member(
                None if file is None else file.path,
                _text(entry.get(self.key or self.image)) or "",
                _text(entry.get(self.label)),
                _text(entry.get(self.group)) if self.group else None,
            )
            for entry, file in zip(entries, found, strict=True)
        ]
        place = next((file.label for file in found if file), self._list().label)
        return list(_pieces(self, place, members, sizes=[file.size if file else 0 for file in found]))

    def read(self, span: Mapping[str, Any]) -> Iterator[Sample]:
        """The files of a piece."""
        return _read(span)

    def _list(self) -> InputFile:
        return expand((self.path,), ())[0]

    def _entries(self) -> list[Mapping[str, Any]]:
        listed = self._list()
        with listed.filesystem.open_input_stream(listed.path) as stream:
            content = stream.read()
        try:
            entries = _parsed(content, listed=listed.name)
        except (ValueError, csv.Error) as error:
            raise DataError(f"{listed.label} is no readable list of images: {str(error).splitlines()[0]}.") from error
        for name in filter(None, (self.image, self.label, self.group, self.key)):
            if not any(name in entry for entry in entries):
                seen = ", ".join(entries[0]) if entries else "no rows"
                raise DataError(
                    f"{listed.label} has no column {name!r}; it has: {seen}. Name the column in the recipe."
                )
        return entries

    def _files(self, entries: Sequence[Mapping[str, Any]]) -> list[InputFile | None]:
        """The file of each entry, None where there is none."""
        base = self.root or str(self._list().label).rpartition("/")[0]
        places = [_whole(_text(entry.get(self.image)) or "", base) for entry in entries]
        return list(_looked_up(places))


def _parsed(content: bytes, *, listed: str) -> list[Mapping[str, Any]]:
    text = content.decode("utf-8-sig")
    if not listed.lower().endswith((".json", ".jsonl", ".ndjson")):
        return list(csv.DictReader(io.StringIO(text, newline="")))
    lines = [line for line in text.splitlines() if line.strip()]
    entries = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in lines]
    if not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("its entries are not objects with names")
    return entries


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _whole(path: str, base: str) -> str:
    return path if path.startswith("/") or files.is_remote(path) else files.join(base, path) if path else ""


def _looked_up(places: Sequence[str]) -> Iterator[InputFile | None]:
    """The files at the places, looked up a file system at a time."""
    if not places:
        return
    filesystem, _ = files.filesystem(next(filter(None, places), "."))
    paths = [files.filesystem(place)[1] if files.is_remote(place) else files.absolute(place) for place in places]
    for place, info in zip(places, filesystem.get_file_info(paths), strict=True):
        there = bool(place) and info.type == fs.FileType.File
        label = place if files.is_remote(place) else info.path
        yield InputFile(filesystem, info.path, info.size, label, info.mtime_ns or 0) if there else None


def _pieces(source: ImageSource, place: str, members: Sequence[Member], *, sizes: Sequence[int]) -> Iterator[Piece]:
    """Neighbouring files together until a piece is worth a task."""
    start = cost = 0
    for end, size in enumerate(sizes, start=1):
        cost += size + (OBJECT_COST if files.is_remote(place) else FILE_COST)
        if cost >= PIECE_BYTES or end == len(sizes):
            yield Piece(source, place, cost, {"place": place, "members": members[start:end]})
            start, cost = end, 0


def _read(span: Mapping[str, Any]) -> Iterator[Sample]:
    members = [Member(*member) for member in span["members"]]
    filesystem, _ = files.filesystem(span["place"])
    if isinstance(filesystem, fs.LocalFileSystem):
        yield from (_sample(filesystem, member) for member in members)
    else:  # a store answers each request late, but many at once
        with ThreadPoolExecutor(_READERS) as readers:
            yield from readers.map(partial(_sample, filesystem), members)


def _sample(filesystem: fs.FileSystem, member: Member) -> Sample:
    if member.path is None:
        return Sample(member.key, None, member.label, member.group)
    try:
        with filesystem.open_input_stream(member.path, compression=None) as stream:
            return Sample(member.key, stream.read(), member.label, member.group)
    except OSError as error:
        raise DataError(f"cannot read {member.path}: {error}. Check that it is there and its permissions.") from error
