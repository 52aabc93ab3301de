"""Every source gives the images of its files as they are, in pieces, and knows its content by digest."""

import gzip
import io
import json
import os
import struct
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from ray_mlops.errors import ConfigError, DataError
from ray_mlops.vision import folders
from ray_mlops.vision.datasets import Digits, TorchvisionSet
from ray_mlops.vision.decoding import decode
from ray_mlops.vision.folders import ImageFolder, Manifest
from ray_mlops.vision.pieces import packed, unpacked
from ray_mlops.vision.shards import ImageParquet, TarShards
from ray_mlops.vision.sources import ImageSource, Sample, content_hash, rows
from tests.vision.pictures import encoded, noise

PICTURES = {f"{name}/{number}.png": encoded(noise(seed=number)) for number, name in enumerate("aabbb")}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path / "home"))


def samples(source: ImageSource) -> list[Sample]:
    """All samples, each piece having travelled to a worker."""
    return [sample for piece in source.pieces() for sample in unpacked(packed([piece]))[0].read()]


def laid_out(root: Path, pictures: Iterable[tuple[str, bytes]] = tuple(PICTURES.items())) -> Path:
    for name, data in pictures:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_a_folder_has_a_class_per_directory(tmp_path: Path) -> None:
    found = samples(ImageFolder(path=str(laid_out(tmp_path / "in"))))
    assert found == [Sample(name, data, name[0], None) for name, data in sorted(PICTURES.items())]


def test_class_and_group_come_from_where_the_recipe_says(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "in", {"train/cat/p7_x.png": b"1", "train/cat/y.PNG": b"2", "z.jpg": b""}.items())
    (root / "train" / "labels.csv").write_text("not an image")
    by_parent = samples(ImageFolder(path=str(root), class_level=-1, group=r"(p\d+)_"))
    assert [(s.key, s.label, s.group) for s in by_parent] == [
        ("train/cat/p7_x.png", "cat", "p7"), ("train/cat/y.PNG", "cat", None), ("z.jpg", None, None),
    ]  # fmt: skip
    by_top = samples(ImageFolder(path=str(root), group="cat", prefix="old", rename={"train": "pets"}))
    assert (by_top[0].key, by_top[0].label, by_top[0].group) == ("old/train/cat/p7_x.png", "pets", "cat")
    with pytest.raises(ValidationError, match="no regular expression"):
        ImageFolder(path=str(root), group="(")


def test_what_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    laid_out(tmp_path / "pictures")
    with pytest.raises(DataError, match="Did you mean pictures"):
        ImageFolder(path=str(tmp_path / "picturs")).pieces()
    with pytest.raises(DataError, match="holds no file ending in"):
        ImageFolder(path=str(tmp_path / "pictures"), suffixes=(".webp",)).identity()


def test_a_folder_is_known_by_its_content(tmp_path: Path) -> None:
    source = ImageFolder(path=str(laid_out(tmp_path / "in")))
    first = source.identity()
    os.utime(tmp_path / "in/a/0.png", (1, 1))
    assert source.identity() == first
    changed = tmp_path / "in/a/0.png"
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    second = source.identity()
    assert second != first
    changed.rename(tmp_path / "in/a/9.png")
    assert source.identity() not in (first, second)


def test_many_small_files_are_one_piece_and_large_ones_are_several(tmp_path: Path, monkeypatch) -> None:
    source = ImageFolder(path=str(laid_out(tmp_path / "in")))
    assert len(source.pieces()) == 1
    monkeypatch.setattr(folders, "PIECE_BYTES", 10_000)
    assert len(source.pieces()) == 3
    assert len(samples(source)) == 5


ENTRIES = [{"path": name, "label": name[0], "who": f"g{number % 2}"} for number, name in enumerate(PICTURES)]


def as_csv(path: Path) -> Path:
    lines = ["path,label,who", *(",".join(entry.values()) for entry in ENTRIES)]
    path.write_text("\n".join(lines) + "\n")
    return path


def as_lines(path: Path) -> Path:
    path.write_text("\n".join(json.dumps(entry) for entry in ENTRIES))
    return path


def as_array(path: Path) -> Path:
    path.write_text(json.dumps(ENTRIES, indent=1))
    return path


@pytest.mark.parametrize(("write", "name"), [(as_csv, "m.csv"), (as_lines, "m.jsonl"), (as_array, "m.json")])
def test_a_manifest_lists_paths_and_labels(tmp_path: Path, write, name: str) -> None:
    laid_out(tmp_path)
    source = Manifest(path=str(write(tmp_path / name)), group="who")
    assert samples(source) == [
        Sample(key, data, key[0], f"g{number % 2}") for number, (key, data) in enumerate(PICTURES.items())
    ]
    first = source.identity()
    (tmp_path / "a/1.png").write_bytes(b"other")
    assert source.identity() != first


def test_a_listed_file_that_is_missing_becomes_a_row_without_an_image(tmp_path: Path) -> None:
    laid_out(tmp_path / "files", list(PICTURES.items())[:3])
    source = Manifest(path=str(as_csv(tmp_path / "m.csv")), root=str(tmp_path / "files"))
    assert [sample.image is None for sample in samples(source)] == [False, False, False, True, True]
    assert [sample.label for sample in samples(source)] == list("aabbb")


def test_a_manifest_without_the_column_or_broken_is_refused(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "m.csv")
    with pytest.raises(DataError, match=r"no column 'species'; it has: path, label, who"):
        Manifest(path=str(path), label="species").pieces()
    (tmp_path / "m.jsonl").write_text('{"path": "a"\n')
    with pytest.raises(DataError, match="no readable list"):
        Manifest(path=str(tmp_path / "m.jsonl")).pieces()


def as_parquet(path: Path, **columns: pa.Array) -> str:
    table = {"image": pa.array(PICTURES.values(), pa.binary()), "label": pa.array([0, 0, 1, 1, None], pa.int16())}
    pq.write_table(pa.table({**table, **columns}), path, row_group_size=2)
    return str(path)


def test_parquet_holds_bytes_and_labels(tmp_path: Path) -> None:
    path = as_parquet(tmp_path / "x.parquet", owner=pa.array(list("uvuvu")))
    source = ImageParquet(path=path, group="owner", rename={"0": "a", "1": "b"})
    assert len(source.pieces()) == 3
    assert samples(source) == [
        Sample(f"x.parquet/{number}", data, label, owner)
        for number, (data, label, owner) in enumerate(
            zip(PICTURES.values(), ["a", "a", "b", "b", None], "uvuvu", strict=True)
        )
    ]


def test_parquet_of_hugging_face_and_keys_of_its_own(tmp_path: Path) -> None:
    structs = pa.array([{"bytes": data, "path": name} for name, data in PICTURES.items()])
    labels = pa.array(list("aabbb")).dictionary_encode()
    source = ImageParquet(
        path=as_parquet(tmp_path / "x.parquet", image=structs, label=labels, no=pa.array(range(5))), key="no"
    )
    assert samples(source) == [Sample(str(n), d, "aabbb"[n], None) for n, d in enumerate(PICTURES.values())]


def test_parquet_without_bytes_is_refused(tmp_path: Path) -> None:
    path = as_parquet(tmp_path / "x.parquet", score=pa.array([0.5] * 5))
    with pytest.raises(DataError, match="no column 'picture'"):
        ImageParquet(path=path, image="picture").pieces()
    with pytest.raises(DataError, match="not the bytes of image files"):
        ImageParquet(path=path, image="label").pieces()
    with pytest.raises(DataError, match="strings or whole numbers"):
        ImageParquet(path=path, label="score").pieces()


def shard(path: Path, members: Iterable[tuple[str, bytes]], mode: str = "w") -> str:
    with tarfile.open(path, mode) as tar:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(path)


@pytest.mark.parametrize("name", ["s.tar", "s.tar.gz"])
def test_tar_shards_pair_members_by_name(tmp_path: Path, name: str) -> None:
    members = [
        ("d/01.jpg", b"one"), ("d/01.cls", b"7\n"),
        ("d/02.json", b'{"label": 3, "group": "g"}'), ("d/02.seg.png", b"two"),
        ("._x", b"junk"), ("03.cls", b"4"), ("04.webp", b"four"),
    ]  # fmt: skip
    source = TarShards(path=shard(tmp_path / name, members, "w:gz" if name.endswith("gz") else "w"))
    assert samples(source) == [
        Sample(f"{name}/d/01", b"one", "7"), Sample(f"{name}/d/02", b"two", "3", "g"),
        Sample(f"{name}/03", None, "4"), Sample(f"{name}/04", b"four"),
    ]  # fmt: skip


def test_a_truncated_shard_names_itself(tmp_path: Path) -> None:
    path = Path(shard(tmp_path / "s.tar", [("1.jpg", bytes(5_000))]))
    path.write_bytes(path.read_bytes()[:2_000])
    with pytest.raises(DataError, match=r"s\.tar is no readable tar file"):
        samples(TarShards(path=str(path)))


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_torchvision_reads_its_original_files(tmp_path: Path, packed: bool) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = {"train": noise(3, 28 * 28, 1).reshape(3, 28, 28), "t10k": noise(2, 28 * 28, 1, seed=1).reshape(2, 28, 28)}
    for part, images in pixels.items():
        for what, array in (("images-idx3", images), ("labels-idx1", np.arange(len(images), dtype=np.uint8))):
            name = f"{part}-{what}-ubyte"
            if packed:
                (raw / f"{name}.gz").write_bytes(gzip.compress(idx(array), mtime=0))
            else:
                (raw / name).write_bytes(idx(array))
    before = sorted(path.name for path in raw.iterdir())
    source = TorchvisionSet(name="FashionMNIST", path=str(tmp_path))
    found = samples(source)
    assert [(s.key, s.label) for s in found] == [
        ("train/000000", "T-shirt/top"), ("train/000001", "Trouser"), ("train/000002", "Pullover"),
        ("test/000000", "T-shirt/top"), ("test/000001", "Trouser"),
    ]  # fmt: skip
    assert (decode(found[4].image or b"", "L")[:, :, 0] == pixels["t10k"][1]).all()
    assert sorted(path.name for path in raw.iterdir()) == before
    assert list(source.identity()) == [f"{tmp_path}#FashionMNIST:train+test"]


def test_torchvision_without_files_or_with_another_name_says_so(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("nothing")
    with pytest.raises(DataError, match="finds no CIFAR10"):
        TorchvisionSet(name="CIFAR10", path=str(tmp_path)).pieces()
    with pytest.raises(ConfigError, match="no data set 'CIFAR11'"):
        TorchvisionSet(name="CIFAR11", path=str(tmp_path)).pieces()
    with pytest.raises(ConfigError, match="with the help of a pickle"):
        TorchvisionSet(name="LSUN", path=str(tmp_path)).pieces()


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    found = samples(Digits())
    assert len(found) == 1_797 and {sample.label for sample in found} == set("0123456789")
    pixels = np.stack([decode(sample.image or b"", "L")[:, :, 0] for sample in found])
    assert (np.rint(pixels / (255 / 16)) == load_digits().images).all()  # pyright: ignore[reportAttributeAccessIssue]
    assert Digits().identity() == Digits().identity()


def test_rows_tell_size_and_hash_and_keep_what_is_no_picture() -> None:
    data = PICTURES["a/0.png"]
    table = rows(
        [Sample("a", data, "x", "g"), Sample("b", b"junk"), Sample("c", None, "y")], ("id", "image", "label", "group")
    )
    assert table.to_pylist() == [
        {"id": "a", "image": data, "label": "x", "group": "g", "width": 32, "height": 24, "hash": content_hash(data)},
        {"id": "b", "image": b"junk", "label": None, "group": None, "width": None, "height": None, "hash": content_hash(b"junk")},
        {"id": "c", "image": None, "label": "y", "group": None, "width": None, "height": None, "hash": None},
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE])
def test_an_archive_cannot_write_outside_the_folder_it_is_unpacked_in(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "cifar-10-python.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("../../../evil" if kind == tarfile.REGTYPE else "link")
        member.type, member.linkname = kind, "/etc" if kind == tarfile.SYMTYPE else ""
        archive.addfile(member, io.BytesIO())
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz cannot be unpacked"):
        TorchvisionSet(name="CIFAR10", path=str(tmp_path / "in")).pieces()
    assert {path.name for path in tmp_path.rglob("*")} == {"in", "cifar-10-python.tar.gz"}
