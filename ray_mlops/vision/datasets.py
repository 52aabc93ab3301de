"""Well-known data sets by name: torchvision's, read by its own code from files that are there, and scikit-learn's digits."""

import difflib
import hashlib
import inspect
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from ray_mlops.errors import ConfigError, DataError
from ray_mlops.platform import files
from ray_mlops.platform.digest_index import folder_digest
from ray_mlops.platform.inputs import expand
from ray_mlops.vision.sources import FILE_COST, ImageSource, Piece, Sample

if TYPE_CHECKING:
    from torchvision.datasets import VisionDataset

Part = Literal["train", "test"]
_PIECE_IMAGES = 30_000  # each piece unpacks the archives for itself
_UNPICKLED = ("LSUN", "LSUNClass")
"""What torchvision unpickles without having compared it with a digest of its own, as it does for CIFAR."""
_ARCHIVES = (".gz", ".tgz", ".zip", ".tar", ".bz2", ".xz")


class TorchvisionSet(ImageSource):
    """A torchvision data set by `name` (`FashionMNIST`, `CIFAR10`, …), as its own code reads it from `path`.

    Nothing is downloaded: `path` (local or `s3://`) is what torchvision calls `root`, with the original files in it,
    packed or not. Images are kept as PNG, which loses nothing; keys are `part/number`, labels the names of the classes.
    """

    kind: Literal["torchvision"] = "torchvision"
    name: str
    path: str
    include: tuple[Part, ...] = ("train", "test")

    def identity(self) -> dict[str, str]:
        """The data set and a digest of the files that it is read from."""
        root = self.path if files.is_remote(self.path) else files.absolute(self.path)
        found = expand((self.path,), ("",), empty_too=True)
        return {f"{root}#{self.name}:{'+'.join(self.include)}": folder_digest(root, found)}

    def pieces(self) -> list[Piece]:
        """Some thousand images a piece."""
        with _opened(self, *self.include) as found:
            counts = [len(one) for one in found]  # pyright: ignore[reportArgumentType]  every one of them has a length
        named = zip(self.include, counts, strict=True)
        return [piece for part, count in named for piece in self._pieces(part, count)]

    def _pieces(self, part: Part, count: int) -> Iterator[Piece]:
        for start in range(0, count, _PIECE_IMAGES):
            end = min(start + _PIECE_IMAGES, count)
            span = {"part": part, "start": start, "end": end}
            yield Piece(self, f"{self.name} {part}", (end - start) * FILE_COST, span)

    def read(self, span: Mapping[str, Any]) -> Iterator[Sample]:
        """The images of a piece."""
        return _read_set(self, span["part"], span["start"], span["end"])


def _read_set(source: TorchvisionSet, part: Part, start: int, end: int) -> Iterator[Sample]:
    with _opened(source, part) as (found,):
        names: Sequence[Any] = getattr(found, "classes", ())
        for number in range(start, end):
            image, target = found[number]
            if not isinstance(image, Image.Image) or not isinstance(target, (int, np.integer)):
                raise DataError(f"{source.name} gives {type(image).__name__} and {type(target).__name__}, not classes.")
            label = str(names[int(target)] if len(names) else target)
            yield Sample(f"{part}/{number:06d}", _png(image), label)


@contextmanager
def _opened(source: TorchvisionSet, *parts: Part) -> Iterator[list["VisionDataset"]]:
    """Parts of the data set, unpacked into a temporary folder where its files are still packed."""
    with files.localised(source.path) as root, tempfile.TemporaryDirectory(prefix="ray-mlops-") as unpacked:
        found = _made(source, root, parts)
        if found is None:
            _unpack(Path(root), Path(unpacked))
            found = _made(source, unpacked, parts)
        if found is None:
            raise _absent(source)
        yield found


def _absent(source: TorchvisionSet) -> DataError:
    where = f"{source.path.rstrip('/')}/{source.name}/raw/"
    return DataError(
        f"torchvision finds no {source.name} in {source.path}: put its original files, packed or not, where it looks "
        f"for them below that folder (MNIST and its kin: {where})."
    )


def _kind(name: str) -> "type[VisionDataset]":
    from torchvision import datasets

    if name in _UNPICKLED:
        raise ConfigError(
            f"ingest.sources: torchvision reads {name} with the help of a pickle beside its files, which could run any code; "
            "read its images as folder, manifest, parquet or tar"
        )
    if name not in datasets.__all__:
        near = difflib.get_close_matches(name, datasets.__all__)
        told = f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(sorted(datasets.__all__))}"
        raise ConfigError(f"ingest.sources: torchvision has no data set {name!r}; {told}")
    return getattr(datasets, name)


def _made(source: TorchvisionSet, root: str, parts: Sequence[Part]) -> "list[VisionDataset] | None":
    """Parts of the data set; None where its code does not find its files."""
    kind = _kind(source.name)
    taken = inspect.signature(kind).parameters

    def chosen(part: Part) -> dict[str, Any]:
        return {"train": part == "train"} if "train" in taken else {"split": part} if "split" in taken else {}

    try:
        return [kind(root, **chosen(part)) for part in parts]
    except Exception as error:  # what a reader raises on files that are not its own is anything at all
        if isinstance(error, RuntimeError) and "not found" in str(error):
            return None
        raise DataError(
            f"torchvision's {source.name} cannot be read from {source.path}: {error or type(error).__name__}. Check its files; "
            "data sets that need more than a folder are read as folder, manifest, parquet or tar."
        ) from error


def _unpack(root: Path, target: Path) -> None:
    """The same tree with its archives unpacked beside links to all files."""
    from torchvision.datasets.utils import extract_archive

    for path in sorted(root.rglob("*")):
        place = target / path.relative_to(root)
        if path.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.resolve())
            if path.suffix in _ARCHIVES and not _untarred(place):
                extract_archive(str(place), str(place.parent))


def _untarred(path: Path) -> bool:
    """Unpack a tar file beside itself, unless it is none; raises `DataError` for a member that would lie elsewhere."""
    if not tarfile.is_tarfile(path):
        return False
    try:
        with tarfile.open(path) as archive:
            archive.extractall(path.parent, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path.name} cannot be unpacked: {error}. Bring its original file.") from error
    return True


class Digits(ImageSource):
    """The 1,797 handwritten digits that come with scikit-learn (8 x 8 pixels, grey), as PNG."""

    kind: Literal["digits"] = "digits"

    def identity(self) -> dict[str, str]:
        """The digest of the pixels, which come with the library."""
        pixels, _ = _digits()
        return {"scikit-learn digits": hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()}

    def pieces(self) -> list[Piece]:
        """One piece."""
        return [Piece(self, "scikit-learn digits", 1 << 20, {})]

    def read(self, span: Mapping[str, Any]) -> Iterator[Sample]:
        """All of them."""
        return _read_digits()


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels `(1797, 8, 8)` uint8 and the digits."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return np.rint(found.images * (255 / 16)).astype(np.uint8), found.target


def _read_digits() -> Iterator[Sample]:
    for number, (pixels, digit) in enumerate(zip(*_digits(), strict=True)):
        yield Sample(f"digits/{number:04d}", _png(Image.fromarray(pixels)), str(digit))


def _png(image: Image.Image) -> bytes:
    sink = BytesIO()
    image.save(sink, "PNG", compress_level=1)
    return sink.getvalue()
