"""Ingest of images: the same snapshot in this process and on the cluster, once for the same content."""

import json
from pathlib import Path

import pytest

from ray_mlops.contract import ImageTable, Run
from ray_mlops.errors import DataError
from ray_mlops.platform import tables
from ray_mlops.stages.images import clean, ingest
from ray_mlops.stages.images.clean import CleanConfig
from ray_mlops.stages.images.ingest import IngestConfig
from ray_mlops.vision import folders
from ray_mlops.vision.datasets import Digits
from ray_mlops.vision.folders import ImageFolder
from tests.vision.pictures import encoded, noise

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(root=str(tmp_path / "root"), id="r", recipe="test", uri=str(tmp_path / "root" / "a"), fingerprint="f")


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    for number in range(6):
        path = tmp_path / "in" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(noise(seed=number)))
    (tmp_path / "in" / "a" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "in" / "a" / "empty.png").write_bytes(b"")
    return ImageFolder(path=str(tmp_path / "in"))


def report(table: ImageTable) -> dict:
    return json.loads(Path(table.uri, "ingest.json").read_text())


def test_everything_goes_into_one_table_and_is_told(run: Run, folder: ImageFolder) -> None:
    table = ingest.run(IngestConfig(sources=(folder, Digits())), run)
    assert (table.rows, table.name) == (8 + 1_797, "vision.images")
    assert table.columns == ("id", "image", "label", "group", "width", "height", "hash")
    told = report(table)
    assert told["rows"] == 1_805 and told["unreadable"] == 2 and told["unlabelled"] == told["missing"] == 0
    assert told["labels"]["a"] == 5 and sum(told["labels"].values()) == 1_805
    assert set(told["sources"].values()) == {8, 1_797}
    assert not Path(run.uri, "read").exists()
    row = tables.load(table).to_pylist()
    assert {r["id"] for r in row} >= {"a/broken.png", "a/empty.png", "b/1.png", "digits/0000"}


def test_on_the_cluster_it_is_the_same_snapshot(run: Run, folder: ImageFolder, monkeypatch) -> None:
    here = ingest.run(IngestConfig(sources=(folder,)), run)
    monkeypatch.setattr(ingest, "_HERE_BYTES", 0)
    monkeypatch.setattr(ingest, "PIECE_BYTES", 1)
    there = ingest.run(IngestConfig(sources=(folder, folder.model_copy(update={"prefix": "again/"}))), run)
    assert there.rows == 2 * here.rows
    again = ingest.run(IngestConfig(sources=(folder,)), run)
    assert again.snapshot == here.snapshot and again.iceberg_snapshot == here.iceberg_snapshot
    assert report(again)["unreadable"] == 2


def test_of_thousands_of_files_each_is_read_once_with_the_class_of_its_directory(
    run: Run, tmp_path: Path, monkeypatch
) -> None:
    content = {f"{number % 7}/{number:04d}.png": encoded(noise(8, 9, 1, seed=number)) for number in range(3_000)}
    for name, image in content.items():
        path = tmp_path / "many" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    monkeypatch.setattr(folders, "PIECE_BYTES", 1 << 20)
    table = ingest.run(IngestConfig(sources=(ImageFolder(path=str(tmp_path / "many")),)), run)
    cleaned = clean.run(CleanConfig(), run, table=table)
    assert len(tables.paths(table)) == len(tables.paths(cleaned)) > 10
    for made in (table, cleaned):
        rows = tables.load(made, ["id", "image", "label"]).to_pylist()
        assert len(rows) == 3_000 and {row["id"]: row["image"] for row in rows} == content
        assert all(row["label"] == row["id"].partition("/")[0] for row in rows)


def test_append_adds_to_what_was_there(run: Run, folder: ImageFolder) -> None:
    first = ingest.run(IngestConfig(sources=(folder,)), run)
    more = Run(root=run.root, id="s", recipe="test", uri=f"{run.root}/b", fingerprint="g")
    config = IngestConfig(sources=(folder.model_copy(update={"prefix": "new/"}),), mode="append")
    assert ingest.run(config, more).rows == 2 * first.rows
    assert ingest.run(config, more).rows == 2 * first.rows  # the same run again


def test_nothing_to_read_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="holds no file ending in"):
        ingest.run(IngestConfig(sources=(ImageFolder(path=str(tmp_path / "in")),)), run)
