"""Find the files a source names (a file, a glob, a folder; local or `s3://`) and say what is in them, by digest."""

import difflib
import hashlib
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pyarrow import fs

from ray_mlops.errors import DataError
from ray_mlops.platform import files

_WILDCARD = re.compile(r"[*?\[]")
_THREADS = 16
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class InputFile:
    """One file of a source: where it is, its size in bytes, the name that messages use (free of credentials), when it was
    changed (nanoseconds since 1970), and the location that led to it."""

    filesystem: fs.FileSystem
    path: str
    size: int
    label: str
    changed: int = 0
    location: str = ""

    def told(self) -> dict[str, Any]:
        """The file as JSON, to be opened in another process by `opened`."""
        return {"location": self.location, "path": self.path, "size": self.size, "label": self.label}

    @classmethod
    def opened(cls, told: Mapping[str, Any]) -> "InputFile":
        """The file that `told` names."""
        filesystem, _ = files.filesystem(told["location"])
        return cls(filesystem, told["path"], told["size"], told["label"], location=told["location"])

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name


def expand(locations: Sequence[str], suffixes: Sequence[str], *, empty_too: bool = False) -> list[InputFile]:
    """The files which the locations name, each once, in order; of a folder those that end in one of the suffixes.

    Raises `DataError` for a location that does not exist, matches nothing or cannot be listed, and for an empty file
    unless it is wanted as well.
    """
    found = [file for location in locations for file in _expand_one(location, suffixes)]
    files_ = list({file.label: file for file in found}.values())
    if empty_too:
        return files_
    if empty := [file.label for file in files_ if file.size == 0]:
        raise DataError(f"{empty[0]} is empty (0 bytes). Write it again, or take it out of the source.")
    return files_


def _expand_one(location: str, suffixes: Sequence[str]) -> list[InputFile]:
    filesystem, path = files.filesystem(location)
    scheme = f"{location.split('://')[0]}://" if files.is_remote(location) else ""
    try:
        infos = _matching(filesystem, path, suffixes, f"{scheme}{path}")
    except OSError as error:
        raise DataError(
            f"cannot read {scheme}{path}: {error}. Check the path, the credentials and the network."
        ) from error
    return [
        InputFile(filesystem, info.path, info.size, f"{scheme}{info.path}", info.mtime_ns or 0, location)
        for info in infos
    ]


def _matching(filesystem: fs.FileSystem, path: str, suffixes: Sequence[str], label: str) -> list[fs.FileInfo]:
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.File:
        return [info]
    if _WILDCARD.search(path):
        return _glob(filesystem, path, label)
    if info.type == fs.FileType.NotFound:
        raise DataError(f"no file or folder {label}.{_nearest(filesystem, path)}")
    below = _walk(filesystem, path)
    chosen = [info for info in below if info.base_name.endswith(tuple(suffixes))]
    if not chosen:
        seen = f"only {', '.join(info.base_name for info in below[:5])}" if below else "it is empty"
        endings = ", ".join(dict.fromkeys(suffix.lower() for suffix in suffixes))
        raise DataError(f"folder {label} holds no file ending in {endings}: {seen}. Correct the path, or its content.")
    return chosen


def _walk(filesystem: fs.FileSystem, folder: str, *, recursive: bool = True) -> list[fs.FileInfo]:
    """The files below a folder, in order, without markers such as `_SUCCESS` and hidden files."""
    infos = filesystem.get_file_info(fs.FileSelector(folder, recursive=recursive))
    kept = [info for info in infos if info.type == fs.FileType.File and not info.base_name.startswith(("_", "."))]
    return sorted(kept, key=lambda info: info.path)


def _glob(filesystem: fs.FileSystem, pattern: str, label: str) -> list[fs.FileInfo]:
    parts = PurePosixPath(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if _WILDCARD.search(part))
    folder = str(PurePosixPath(*parts[:fixed]))
    if filesystem.get_file_info(folder).type != fs.FileType.Directory:
        raise DataError(f"no folder {folder} for the pattern {label}.{_nearest(filesystem, folder)}")
    expression = re.compile("/".join(_segment(part) for part in parts[fixed:]).replace(".*/", "(?:.*/)?"))
    base = folder.rstrip("/") + "/"
    below = _walk(filesystem, folder, recursive=len(parts) > fixed + 1)
    chosen = [info for info in below if expression.fullmatch(info.path.removeprefix(base))]
    if not chosen:
        raise DataError(f"the pattern {label} matches none of the {len(below)} files in {folder}.")
    return chosen


def _segment(part: str) -> str:
    """One part of a glob as a regular expression: `**` crosses folders, `*`, `?` and `[…]` do not."""
    if part == "**":
        return ".*"
    pieces = re.split(r"(\*|\?|\[[^]]+\])", part)
    special = {"*": "[^/]*", "?": "[^/]"}
    return "".join(special.get(piece, piece if piece.startswith("[") else re.escape(piece)) for piece in pieces)


def _nearest(filesystem: fs.FileSystem, path: str) -> str:
    parent = str(PurePosixPath(path).parent)
    try:
        names = [info.base_name for info in filesystem.get_file_info(fs.FileSelector(parent))]
    except OSError:
        return f" {parent} does not exist either."
    near = difflib.get_close_matches(PurePosixPath(path).name, names, n=1)
    return f" Did you mean {near[0]}?" if near else f" {parent} holds {len(names)} other names."


def digests(inputs: Sequence[InputFile]) -> dict[str, str]:
    """Label to content digest: BLAKE2b of a local file, entity tag and size of an object in a store."""
    with ThreadPoolExecutor(_THREADS) as threads:
        return dict(zip([file.label for file in inputs], threads.map(_digest, inputs), strict=True))


def _digest(file: InputFile) -> str:
    try:
        with file.filesystem.open_input_stream(file.path, compression=None) as stream:
            if tag := (stream.metadata() or {}).get("ETag"):
                return f"{tag.decode().strip(chr(34))}-{file.size}"
            content = hashlib.blake2b(digest_size=16)
            while chunk := stream.read(_CHUNK_BYTES):
                content.update(chunk)
            return content.hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {file.label}: {error}. Check the path and its permissions.") from error
