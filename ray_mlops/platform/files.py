"""Files in the run root, on a folder or on `s3://`: small atomic writes, whole-folder transfer, clear errors.

A write is visible either whole or not at all: locally through a temporary file and a rename, on S3 because a PUT is. Of
several who create the same file one succeeds: locally because a link is exclusive, on S3 by a conditional PUT.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pyarrow import fs

from ray_mlops.errors import StorageError
from ray_mlops.platform import s3


def is_remote(uri: str) -> bool:
    """Whether the URI names an object store rather than a local folder."""
    return "://" in uri and not uri.startswith("file://")


def absolute(uri: str) -> str:
    """The URI unchanged when remote, else the absolute local path."""
    return uri if is_remote(uri) else str(Path(uri.removeprefix("file://")).expanduser().absolute())


def join(uri: str, *parts: str) -> str:
    """`uri/part/part`, without doubled slashes."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The Arrow file system of a URI and the path inside it.

    Credentials and `AWS_ENDPOINT_URL` come from the standard AWS chain; see `platform.s3`.
    """
    if not is_remote(uri):
        return fs.LocalFileSystem(), absolute(uri)
    try:
        return s3.opened(uri) if uri.startswith("s3://") else fs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot open {uri}: {error}. Give a local folder or s3://bucket/prefix.") from error


@contextmanager
def _storage(action: str, uri: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"cannot {action} {uri}: {reason.rstrip('.')}. {_advice(uri)}") from error


def _advice(uri: str) -> str:
    return s3.advice() if is_remote(uri) else "Check the path, its permissions and free space."


def exists(uri: str) -> bool:
    """Whether a file or folder is there."""
    with _storage("look up", uri):
        filesystem_, path = filesystem(uri)
        return filesystem_.get_file_info(path).type != fs.FileType.NotFound


def listing(uri: str) -> list[str]:
    """Names (not paths) directly below a folder, sorted; empty when the folder is not there."""
    with _storage("list", uri):
        filesystem_, path = filesystem(uri)
        found = filesystem_.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in found)


def by_age(uri: str) -> list[tuple[str, datetime]]:
    """Names directly below a folder with the time of their last change (UTC), oldest first; empty when it is not there."""
    with _storage("list", uri):
        filesystem_, path = filesystem(uri)
        found = filesystem_.get_file_info(fs.FileSelector(path, allow_not_found=True))
    aged = [(info.base_name, info.mtime) for info in found if info.type == fs.FileType.File and info.mtime]
    return sorted(aged, key=lambda one: (one[1], one[0]))


class Below(NamedTuple):
    """A file below a folder: its name from there on, its bytes, the time of its last change (UTC)."""

    name: str
    bytes: int
    changed: datetime


def below(uri: str) -> list[Below]:
    """All files below a folder, or the file itself (as ``), sorted by name; none when nothing is there."""
    with _storage("list", uri):
        filesystem_, path = filesystem(uri)
        found = (
            filesystem_.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
            if not _is_file(filesystem_, path)
            else [filesystem_.get_file_info(path)]
        )
    kept = [info for info in found if info.type == fs.FileType.File]
    return sorted(
        Below(info.path.removeprefix(path).lstrip("/"), info.size, info.mtime or datetime.now(UTC)) for info in kept
    )


def _is_file(filesystem_: fs.FileSystem, path: str) -> bool:
    return filesystem_.get_file_info(path).type == fs.FileType.File


def read_bytes(uri: str) -> bytes:
    """The content of a file."""
    with _storage("read", uri):
        filesystem_, path = filesystem(uri)
        with filesystem_.open_input_stream(path) as stream:
            return stream.read()


def find_bytes(uri: str, most: int | None = None) -> bytes | None:
    """The content of a file, or its first `most` bytes; None when it is not there."""
    with _storage("read", uri):
        filesystem_, path = filesystem(uri)
        try:
            with filesystem_.open_input_stream(path) as stream:
                return stream.read(most)
        except FileNotFoundError:
            return None


def read_text(uri: str) -> str:
    """The content of a UTF-8 file."""
    return read_bytes(uri).decode()


def read_json(uri: str) -> Any:
    """The value in a JSON file."""
    return json.loads(read_bytes(uri))


def write_bytes(uri: str, content: bytes) -> None:
    """Write a file whole or not at all, making its parent folders."""
    with _storage("write", uri):
        filesystem_, path = filesystem(uri)
        if is_remote(uri):
            with filesystem_.open_output_stream(path) as stream:
                stream.write(content)
        else:
            _write_local(Path(path), content)


def create_bytes(uri: str, content: bytes) -> bool:
    """Write a file whole where there is none yet; whether it did. Of several at once, one does."""
    with _storage("create", uri):
        return _create_remote(uri, content) if is_remote(uri) else _create_local(Path(absolute(uri)), content)


def _create_local(path: Path, content: bytes) -> bool:
    with _temporary(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    return True


def _create_remote(uri: str, content: bytes) -> bool:
    """By boto3, as Arrow sends no conditions."""
    from botocore.exceptions import BotoCoreError, ClientError

    scheme, _, place = uri.partition("://")
    if scheme != "s3":
        raise StorageError(f"cannot create {uri} for certain that nobody else does: only a folder and s3:// can")
    bucket, _, key = place.partition("/")
    try:
        s3.client().put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
    except ClientError as error:
        # The second is what S3 answers to one of two that come at the same moment.
        if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"):
            return False
        raise StorageError(f"cannot create {uri}: {str(error).rstrip('.')}. {s3.advice()}") from error
    except BotoCoreError as error:
        raise StorageError(f"cannot create {uri}: {str(error).rstrip('.')}. {s3.advice()}") from error
    return True


def _write_local(path: Path, content: bytes) -> None:
    with _temporary(path, content) as temporary:
        os.replace(temporary, path)


@contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[str]:
    """A file with some content beside `path`, on the disk when it is handed over, gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        yield temporary
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Wait until no other process has this folder to itself, then have it. Object stores know no locks: there nobody waits; for
    those, see `platform.leases`."""
    if is_remote(uri):
        yield
        return
    with _storage("lock", uri):
        folder = Path(absolute(uri))
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    with os.fdopen(handle, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_text(uri: str, content: str) -> None:
    """Write a UTF-8 file whole or not at all."""
    write_bytes(uri, content.encode())


def write_json(uri: str, value: Any) -> None:
    """Write a JSON file whole or not at all, keys in the order given."""
    write_text(uri, json.dumps(value, indent=2, default=str) + "\n")


def remove(uri: str) -> None:
    """Delete a file or a folder with all it holds; nothing happens when it is not there."""
    with _storage("delete", uri):
        filesystem_, path = filesystem(uri)
        kind = filesystem_.get_file_info(path).type
        with suppress(FileNotFoundError):  # somebody else was faster
            if kind == fs.FileType.Directory:
                filesystem_.delete_dir(path)
            elif kind == fs.FileType.File:
                filesystem_.delete_file(path)


def upload(folder: str, uri: str) -> None:
    """Copy a local folder to a URI, replacing files of the same name."""
    with _storage("copy to", uri):
        filesystem_, path = filesystem(uri)
        filesystem_.create_dir(path, recursive=True)
        fs.copy_files(folder, path, source_filesystem=fs.LocalFileSystem(), destination_filesystem=filesystem_)


def download(uri: str, folder: str) -> None:
    """Copy a folder at a URI to a local folder; raises `StorageError` when a key of the store would lead out of it."""
    with _storage("copy from", uri):
        filesystem_, path = filesystem(uri)
        for info in filesystem_.get_file_info(fs.FileSelector(path, recursive=True)):
            if {".", ".."} & set(info.path.split("/")):
                raise StorageError(f"{uri} is not copied: the key {info.path!r} would lead out of the folder")
        Path(folder).mkdir(parents=True, exist_ok=True)
        fs.copy_files(path, folder, source_filesystem=filesystem_, destination_filesystem=fs.LocalFileSystem())


@contextmanager
def localised(uri: str) -> Iterator[str]:
    """A local path of a folder: itself when local, else a temporary copy that goes away afterwards."""
    if not is_remote(uri):
        yield absolute(uri)
        return
    folder = tempfile.mkdtemp(prefix="ray-mlops-")
    try:
        download(uri, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
