"""A bundle is its content: same files, same digest; a changed byte is found and named."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from ray_mlops.errors import ConfigError, StorageError
from ray_mlops.platform.bundle import MANIFEST, Bundle, digest_of


def make(folder: Path, **content: str) -> str:
    for name, text in content.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def test_the_same_content_has_the_same_digest_wherever_it_is_written(tmp_path: Path) -> None:
    first = Bundle.write(make(tmp_path / "a", model__weights="1", schema="{}"), str(tmp_path / "here"))
    second = Bundle.write(make(tmp_path / "b", schema="{}", model__weights="1"), str(tmp_path / "there"))
    assert first.digest == second.digest
    assert first.uri == str(tmp_path / "here" / first.digest)
    assert Bundle.load(first.uri, digest=first.digest) == first


def test_a_changed_file_or_name_changes_the_digest(tmp_path: Path) -> None:
    contents = ({"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": "1"})
    bundles = [Bundle.write(make(tmp_path / str(n), **files), str(tmp_path / "x")) for n, files in enumerate(contents)]
    assert len({bundle.digest for bundle in bundles}) == len(contents)


def test_reads_json_and_paths_and_names_what_it_holds(tmp_path: Path) -> None:
    bundle = Bundle.write(make(tmp_path / "a", thresholds='{"block": 0.5}', model__w="1"), str(tmp_path / "x"))
    assert bundle.json("thresholds") == {"block": 0.5}
    assert Path(bundle.path("model")).is_dir() and bundle.has("model") and not bundle.has("mod")
    with pytest.raises(StorageError, match="has no code; it holds model/w, thresholds"):
        bundle.path("code")


@pytest.mark.parametrize(("damage", "state"), [("change", "damaged"), ("delete", "missing")])
def test_loading_names_the_damaged_file(tmp_path: Path, damage: str, state: str) -> None:
    bundle = Bundle.write(make(tmp_path / "a", model__weights="1", schema="{}"), str(tmp_path / "x"))
    victim = Path(bundle.path("model/weights"))
    victim.write_text("2") if damage == "change" else victim.unlink()
    with pytest.raises(StorageError, match=f"model/weights is {state}"):
        Bundle.load(bundle.uri)


def test_a_manifest_that_was_edited_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.write(make(tmp_path / "a", schema="{}"), str(tmp_path / "x"))
    manifest = Path(bundle.uri) / MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "files": {}}))
    with pytest.raises(StorageError, match="does not match its digest"):
        Bundle.load(bundle.uri)
    manifest.write_text("[]")
    with pytest.raises(StorageError, match="does not match its digest"):
        Bundle.load(bundle.uri)


def test_a_pinned_digest_must_be_the_one_found(tmp_path: Path) -> None:
    bundle = Bundle.write(make(tmp_path / "a", schema="{}"), str(tmp_path / "x"))
    with pytest.raises(StorageError, match="not the pinned abc"):
        Bundle.load(bundle.uri, digest="abc")


def test_no_bundle_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"no bundle at {tmp_path}/nothing"):
        Bundle.load(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="has no files"):
        Bundle.write(str(tmp_path / "empty"), str(tmp_path / "x"))


def test_writing_again_repairs_a_damaged_bundle_and_leaves_no_debris(tmp_path: Path) -> None:
    source = make(tmp_path / "a", schema="{}")
    bundle = Bundle.write(source, str(tmp_path / "x"))
    (Path(bundle.uri) / "schema").write_text("broken")
    assert Bundle.write(source, str(tmp_path / "x")) == bundle
    assert [path.name for path in (tmp_path / "x").iterdir()] == [bundle.digest]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot write the bundle"):
        Bundle.write(make(tmp_path / "a", schema="{}"), str(tmp_path / "x"))
    assert (tmp_path / "x").is_file()


@pytest.mark.parametrize("name", ["weights.pkl", "weights"])
def test_a_pickle_is_refused_by_name_and_by_content(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / name).write_bytes(pickle.dumps({"weights": [1, 2]}))
    with pytest.raises(ConfigError, match=f"{name} is a pickle"):
        Bundle.write(str(folder), str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_a_safetensors_header_is_not_taken_for_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "model.safetensors").write_bytes((640).to_bytes(8, "little") + b"{}")
    assert Bundle.write(str(tmp_path / "a"), str(tmp_path / "x")).has("model.safetensors")


@given(st.dictionaries(st.text(min_size=1), st.text(alphabet="0123456789abcdef", min_size=4, max_size=4), max_size=6))
def test_the_digest_does_not_depend_on_the_order_of_files(hashes: dict[str, str]) -> None:
    assert digest_of(hashes) == digest_of(dict(reversed(list(hashes.items()))))
    assert digest_of({**hashes, "one more": "beef"}) != digest_of(hashes)


@pytest.fixture()
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on an S3 server of this test's own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**settings, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path / "home"))
    boto3.client("s3").create_bucket(Bucket="models")
    yield "s3://models"
    server.stop()


def test_a_bundle_on_s3_is_fetched_once_verified_and_kept_by_digest(tmp_path: Path, bucket: str) -> None:
    written = Bundle.write(make(tmp_path / "a", schema="{}", model__weights="1"), f"{bucket}/root/bundles")
    assert written.uri == f"{bucket}/root/bundles/{written.digest}"
    assert Path(written.path("model/weights")).read_text() == "1"
    assert written.folder == str(tmp_path / "home" / "bundles" / written.digest)
    assert Bundle.load(written.uri, digest=written.digest) == written
    same = Bundle.write(make(tmp_path / "b", schema="{}", model__weights="1"), str(tmp_path / "local"))
    assert same.digest == written.digest
    with pytest.raises(StorageError, match="no bundle at s3://models/root/bundles/other"):
        Bundle.load(f"{bucket}/root/bundles/other")


def test_a_damaged_copy_of_a_bundle_on_s3_is_fetched_again(tmp_path: Path, bucket: str) -> None:
    written = Bundle.write(make(tmp_path / "a", schema="{}"), f"{bucket}/bundles")
    Path(written.path("schema")).write_text("broken")
    assert Path(Bundle.load(written.uri).path("schema")).read_text() == "{}"
    boto3.client("s3").put_object(Bucket="models", Key=f"bundles/{written.digest}/schema", Body=b"also broken")
    Path(written.path("schema")).write_text("broken")
    with pytest.raises(StorageError, match="schema is damaged"):
        Bundle.load(written.uri)
