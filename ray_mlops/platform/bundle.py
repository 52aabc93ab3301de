"""The bundle: one content-hashed folder that holds all a model needs in order to answer.

The digest hashes the sorted (path, SHA-256) pairs of its files and is the name of its folder, so that the same content
is the same bundle, wherever and whenever it is written, and a damaged one is never served. The bundle knows its files,
not their meaning: the predictor of each family reads them. Nothing in it is a pickle, a link, or outside its folder: that is
seen to when it is written and again when it is opened, whoever has written it.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ray_mlops.errors import ConfigError, StorageError
from ray_mlops.platform import files, runtime

MANIFEST = "manifest.json"
_FORMAT = 1
_PICKLE_SUFFIXES = {".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle"}
_PICKLE_PROTOCOLS = range(2, 6)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: `uri` is where it lives, `folder` a local copy (the same place when it lives locally)."""

    uri: str
    digest: str
    folder: str
    files: Mapping[str, str]

    @classmethod
    def write(cls, folder: str, bundles: str) -> "Bundle":
        """Store a local folder as `<bundles>/<digest>`, whole or not at all.

        Raises `ConfigError` when a file is a pickle or a link and `StorageError` when the target refuses.
        """
        hashes = _hashes(Path(folder))
        _refuse_pickles(Path(folder), hashes)
        digest = digest_of(hashes)
        uri = files.join(bundles, digest)
        manifest = {"format": _FORMAT, "digest": digest, "files": hashes}
        if files.is_remote(uri):
            files.upload(folder, uri)
            files.write_json(files.join(uri, MANIFEST), manifest)
        else:
            _move_in(Path(folder), Path(files.absolute(uri)), manifest)
        return cls.load(uri, digest=digest)

    @classmethod
    def load(cls, uri: str, *, digest: str | None = None) -> "Bundle":
        """Open a bundle after comparing every file with the manifest, and the whole with the pinned `digest`.

        Raises `StorageError` naming the file that is missing, damaged, a link or outside the bundle, and `ConfigError`
        for a pickle.
        """
        uri = files.absolute(uri)
        manifest = _read_manifest(uri)
        if digest is not None and manifest["digest"] != digest:
            raise StorageError(f"the bundle at {uri} is {manifest['digest']}, not the pinned {digest}. Deploy it anew.")
        folder = _fetch(uri, manifest) if files.is_remote(uri) else uri
        _verify(Path(folder), manifest, uri)
        return cls(uri=uri, digest=manifest["digest"], folder=folder, files=manifest["files"])

    @classmethod
    def at(cls, folder: str) -> "Bundle":
        """Open a copy of a bundle that others have made, whatever its folder is called; raises as `load` does."""
        manifest = _read_manifest(folder, named=False)
        _verify(Path(folder), manifest, folder)
        return cls(uri=folder, digest=manifest["digest"], folder=folder, files=manifest["files"])

    def path(self, name: str) -> str:
        """The local path of a file or folder of the bundle; raises `StorageError` when it holds none of that name."""
        if name not in self.files and not any(known.startswith(f"{name}/") for known in self.files):
            raise StorageError(f"the bundle at {self.uri} has no {name}; it holds {', '.join(sorted(self.files))}")
        return os.path.join(self.folder, name)

    def has(self, name: str) -> bool:
        """Whether the bundle holds a file, or a folder with files, of that name."""
        return name in self.files or any(known.startswith(f"{name}/") for known in self.files)

    def json(self, name: str) -> Any:
        """The value in a JSON file of the bundle."""
        return json.loads(Path(self.path(name)).read_bytes())


def origin(uri: str) -> str:
    """The file beside a bundle that says where, in this root, the tables it was made from live.

    It is not in the bundle, whose content must not depend on where it is.
    """
    return f"{uri.rstrip('/')}.origin.json"


def digest_of(hashes: Mapping[str, str]) -> str:
    """The digest of a bundle with these files (path to SHA-256): 64 hexadecimal characters."""
    lines = "".join(f"{path}\0{content}\n" for path, content in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    found = sorted(folder.rglob("*"))
    if links := [path for path in found if path.is_symlink()]:
        raise ConfigError(
            f"{links[0]} is a link, and could lead anywhere, so it cannot be in a bundle. Put a copy there."
        )
    found = [path for path in found if path.is_file()]
    kept = [path for path in found if "__pycache__" not in path.parts and path != folder / MANIFEST]
    if not kept:
        raise StorageError(f"nothing to bundle: {folder} has no files")
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in kept}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refuse_pickles(folder: Path, names: Mapping[str, str]) -> None:
    for name in names:
        if _is_pickle(folder / name):
            raise ConfigError(
                f"{name} is a pickle, which runs code when it is loaded, so it cannot be in a bundle. "
                "Let the model's save() write a native format, JSON, NPY or safetensors."
            )


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(3)
    # The third byte tells a pickle from a safetensors header of 640 bytes, which also begins 0x80 0x02.
    bare = len(start) == 3 and start[0] == 0x80 and start[1] in _PICKLE_PROTOCOLS and start[2] != 0
    if bare or _named_as_pickle(path.name):
        return True
    if path.suffix == ".npy":
        with path.open("rb") as stream:
            return _holds_objects(stream)
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        return any(map(_named_as_pickle, members)) or any(
            _holds_objects(archive.open(member)) for member in members if member.endswith(".npy")
        )


def _named_as_pickle(name: str) -> bool:
    return any(suffix.lower() in _PICKLE_SUFFIXES for suffix in PurePosixPath(name).suffixes)


def _holds_objects(stream: IO[bytes]) -> bool:
    """Whether an NPY file is of Python objects, which are pickled in it; its header tells, as the text of a dict."""
    start = stream.read(4096)
    return start.startswith(b"\x93NUMPY") and b"O'" in start.partition(b"}")[0]


def _move_in(source: Path, target: Path, manifest: Mapping[str, Any]) -> None:
    """Put a copy of the source at the target by one rename; a bundle that is already there and whole is kept."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
        try:
            for name in manifest["files"]:
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, temporary / name)
            files.write_json(str(temporary / MANIFEST), manifest)
            temporary.chmod(0o755)
            _rename(temporary, target, manifest)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot write the bundle {target}: {error.strerror or error}. Check free space.") from error


def _rename(temporary: Path, target: Path, manifest: Mapping[str, Any]) -> None:
    if target.exists():
        if not _wrong(target, manifest) and (target / MANIFEST).is_file():
            return
        shutil.rmtree(target)  # damaged, or the debris of something else: written anew from what is whole
    os.rename(temporary, target)


def _read_manifest(uri: str, *, named: bool = True) -> Mapping[str, Any]:
    path = files.join(uri, MANIFEST)
    if not files.exists(path):
        raise StorageError(f"there is no bundle at {uri}: {MANIFEST} is missing. Register the model again.")
    try:
        manifest = files.read_json(path)
        name = uri.rstrip("/").rpartition("/")[2] if named else manifest["digest"]
        sound = manifest["digest"] == digest_of(manifest["files"]) == name
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
        manifest = {}
    if not sound:
        raise StorageError(f"the bundle at {uri} is damaged: {MANIFEST} does not match its digest. Register it again.")
    if outside := [name for name in manifest["files"] if not _is_below(name)]:
        raise StorageError(
            f"the bundle at {uri} is refused: {MANIFEST} names {outside[0]!r}, which is no path below it."
        )
    return manifest


def _is_below(name: str) -> bool:
    return not {"", ".", ".."} & set(name.split("/")) and not {"\0", "\\"} & set(name)


def _verify(folder: Path, manifest: Mapping[str, Any], uri: str) -> None:
    if wrong := _wrong(folder, manifest):
        raise StorageError(f"the bundle at {uri} cannot be used: {wrong}. Register the model again.")
    _refuse_pickles(folder, manifest["files"])


def _wrong(folder: Path, manifest: Mapping[str, Any]) -> str:
    """What is wrong with the first file that is not as the manifest says; empty when all are."""
    for name, expected in manifest["files"].items():
        path = folder / name
        if any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(folder) and part != folder):
            return f"{name} is a link, or below one, and could lead anywhere"
        if not path.is_file():
            return f"{name} is missing"
        if _sha256(path) != expected:
            return f"{name} is damaged (its content has changed)"
    return ""


def _fetch(uri: str, manifest: Mapping[str, Any]) -> str:
    """A local copy of a remote bundle, kept under its digest for the next replica on this machine."""
    target = runtime.home() / "bundles" / manifest["digest"]
    if target.exists() and _wrong(target, manifest):
        shutil.rmtree(target, ignore_errors=True)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=".fetching-", dir=target.parent)
        files.download(uri, temporary)
        try:
            os.rename(temporary, target)
        except OSError:  # another replica was first; its copy is as good and is verified like ours
            shutil.rmtree(temporary, ignore_errors=True)
    return str(target)
