"""Files in the run root: whole or not at all, and errors that say what to do."""

import os
from pathlib import Path

import boto3
import pytest

from ray_mlops.errors import StorageError
from ray_mlops.platform import files


def test_a_written_value_reads_back_the_same(tmp_path: Path) -> None:
    uri = files.join(str(tmp_path), "deep", "er", "value.json")
    files.write_json(uri, {"b": 1, "a": [1.5, None]})
    assert files.read_json(uri) == {"b": 1, "a": [1.5, None]}
    assert files.listing(files.join(str(tmp_path), "deep", "er")) == ["value.json"]


def test_a_write_that_fails_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    uri = str(tmp_path / "value.txt")
    files.write_text(uri, "old")
    with pytest.raises(TypeError):
        files.write_bytes(uri, object())  # pyright: ignore[reportArgumentType]
    assert files.read_text(uri) == "old"
    assert os.listdir(tmp_path) == ["value.txt"]


def test_a_folder_where_a_file_should_be_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read .*Check the path"):
        files.read_bytes(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        files.write_text(str(tmp_path / "file" / "below"), "")


def test_an_unknown_scheme_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="Give a local folder or s3://"):
        files.exists("gopher://hole/file")


def test_folders_are_copied_both_ways(tmp_path: Path) -> None:
    source, target, back = tmp_path / "source", str(tmp_path / "target"), tmp_path / "back"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "part").write_text("content")
    files.upload(str(source), target)
    files.download(target, str(back))
    assert (back / "sub" / "part").read_text() == "content"
    with files.localised(target) as folder:
        assert Path(folder, "sub", "part").read_text() == "content"


def test_what_is_larger_than_a_part_goes_to_s3_in_parts(
    s3_server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="in-parts")
    content = os.urandom(1 << 20) * 21  # Arrow's parts have ten MiB
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(content)
    files.upload(str(tmp_path / "model"), "s3://in-parts/bundle")
    etag = client.head_object(Bucket="in-parts", Key="bundle/weights")["ETag"].strip('"')
    assert int(etag.partition("-")[2]) >= 3, etag  # the digest of the parts' digests, and how many there were
    assert files.read_bytes("s3://in-parts/bundle/weights") == content
    with files.localised("s3://in-parts/bundle") as folder:
        assert Path(folder, "weights").read_bytes() == content
    assert not client.list_multipart_uploads(Bucket="in-parts").get("Uploads"), "none is left open"


def test_removing_takes_files_and_folders_and_forgives_absence(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("")
    files.remove(str(tmp_path / "folder"))
    files.remove(str(tmp_path / "folder"))
    assert not (tmp_path / "folder").exists()


def test_a_path_is_made_absolute_and_an_object_uri_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert files.absolute("mlops") == str(tmp_path / "mlops")
    assert files.absolute("s3://bucket/mlops") == "s3://bucket/mlops"
    assert files.join("s3://bucket/", "/a/", "b") == "s3://bucket/a/b"
