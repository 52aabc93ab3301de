"""Bundles made to run code or to reach out of their folder: refused where they are opened, and nothing of them has run."""

import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ray_mlops import algorithms
from ray_mlops.contract import ModelVersion, Run
from ray_mlops.errors import ConfigError, RayMlopsError, StorageError
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.platform.bundle import MANIFEST, Bundle, digest_of
from ray_mlops.platform.registry import open_registry
from ray_mlops.stages import deploy, register
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.stages.register import RegisterConfig
from tests.own_algorithm import LargeAmounts
from tests.small_model import bundle, study


class Hostile:
    """What writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def pickled(marker: Path) -> bytes:
    return pickle.dumps(Hostile(marker))


def objects(marker: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Hostile(marker)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def archive(name: str, content: Callable[[Path], bytes]) -> Callable[[Path], bytes]:
    def made(marker: Path) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as opened:
            opened.writestr(name, content(marker))
        return stream.getvalue()

    return made


def saved_by_torch(marker: Path, **settings: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(Hostile(marker), stream, **settings)
    return stream.getvalue()


PICKLES: dict[str, Callable[[Path], bytes]] = {
    "model/weights.pkl": pickled,
    "model/WEIGHTS.PICKLE": pickled,
    "model/model.joblib": pickled,
    "model/model.joblib.gz": lambda marker: b"\x1f\x8b",
    "model/weights.bin": pickled,
    "model/weights.npy": objects,
    "model/weights.npz": archive("arr_0.npy", objects),
    "model/archive.zip": archive("inside/data.pkl", pickled),
    "model/model.pt": saved_by_torch,
    "model/old.pt": lambda marker: saved_by_torch(marker, _use_new_zipfile_serialization=False),
}
OUTSIDE = ["../outside", "model/../../outside", "/etc/hostname", "model//x", "./x", "", "model/..", "a\\..\\b", "a\0b"]


def planted(bundles: Path, content: dict[str, bytes]) -> Bundle:
    """A bundle as nobody writes it with `Bundle.write`, with a manifest that agrees with its content."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    digest = digest_of(hashes)
    folder = bundles / digest
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        if (
            "\0" not in name
            and (folder / name).resolve().is_relative_to(bundles.parent)
            and not (folder / name).is_dir()
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "digest": digest, "files": hashes}))
    return Bundle(uri=str(folder), digest=digest, folder=str(folder), files=hashes)


def content_of(made: Bundle) -> dict[str, bytes]:
    return {name: Path(made.folder, name).read_bytes() for name in made.files}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The content of a bundle that answers."""
    return content_of(bundle(tmp_path_factory.mktemp("sound")))


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_is_refused_when_a_bundle_is_opened(tmp_path: Path, sound: dict[str, bytes], name: str) -> None:
    marker = tmp_path / "it-ran"
    made = planted(tmp_path / "bundles", {**sound, name: PICKLES[name](marker)})
    for opened in (Bundle.load, Bundle.at):
        with pytest.raises(ConfigError, match=f"{name} is a pickle"):
            opened(made.uri)
    assert not marker.exists()


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_that_names_a_path_outside_is_refused(tmp_path: Path, sound: dict[str, bytes], name: str) -> None:
    made = planted(tmp_path / "bundles", {**sound, name: b"{}"})
    with pytest.raises(StorageError, match="is refused: manifest.json names .*, which is no path below it"):
        Bundle.load(made.uri)


@pytest.mark.parametrize("link", ["thresholds.json", "model"])
def test_a_link_is_refused_even_where_its_content_is_the_same(
    tmp_path: Path, sound: dict[str, bytes], link: str
) -> None:
    made = planted(tmp_path / "bundles", sound)
    outside = tmp_path / "outside"
    Path(made.folder, link).rename(outside)
    Path(made.folder, link).symlink_to(outside)
    with pytest.raises(StorageError, match="is a link, or below one, and could lead anywhere"):
        Bundle.load(made.uri)
    assert outside.exists()


def test_what_a_bundle_may_hold_is_opened(tmp_path: Path, sound: dict[str, bytes]) -> None:
    stream = io.BytesIO()
    np.savez(stream, np.arange(5), np.array(["O'", "text"]))
    made = planted(tmp_path / "bundles", {**sound, "model/more.npz": stream.getvalue(), "model/..x": b"", "a b/ü": b""})
    assert Predictor.load(Bundle.load(made.uri)).definition.names


def test_code_outside_the_bundle_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    for named in ("../evil.py", str(tmp_path / "evil.py"), "code/../../evil.py"):
        with pytest.raises(ConfigError, match="no file of the bundle's folder of code"):
            algorithms.restore({"kind": "x", "class": f"{named}:X"}, str(tmp_path / "code"))
    assert not marker.exists()


def test_a_compiled_copy_beside_the_code_is_not_run(tmp_path: Path) -> None:
    import importlib.util
    import marshal

    marker = tmp_path / "it-ran"
    made = bundle(tmp_path, LargeAmounts())
    (source,) = Path(made.path("code")).glob("*.py")
    hostile = compile(f"import os\nos.mkdir({str(marker)!r})\n", str(source), "exec")
    cached = Path(importlib.util.cache_from_source(str(source)))
    cached.parent.mkdir(exist_ok=True)
    unchecked = (1).to_bytes(4, "little") + importlib.util.source_hash(source.read_bytes())
    cached.write_bytes(importlib.util.MAGIC_NUMBER + unchecked + marshal.dumps(hostile))
    assert Predictor.load(Bundle.load(made.uri)).definition.names and not marker.exists()


def a_run(root: Path) -> Run:
    return Run(root=str(root), id="r", recipe="small", uri=str(root / "artifact"), fingerprint="f")


def linked_out(folder: Path) -> None:
    (folder / "model" / "more").symlink_to("/etc")


def with_a_pickle(folder: Path) -> None:
    (folder / "model" / "x.bin").write_bytes(pickled(folder.parent / "it-ran"))


def saved_with_torch(folder: Path) -> None:
    (folder / "model" / "x.pt").write_bytes(saved_by_torch(folder.parent / "it-ran"))


@pytest.mark.parametrize("plant", [linked_out, with_a_pickle, saved_with_torch])
def test_a_model_with_it_is_not_registered(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    made = study(tmp_path)
    plant(Path(made["trained"].uri))
    with pytest.raises(ConfigError, match="cannot be in a bundle"):
        register.run(RegisterConfig(name="small"), a_run(tmp_path), **made)
    assert open_registry(a_run(tmp_path)).names() == () and not (tmp_path / "bundles").exists()
    assert not (tmp_path / "it-ran").exists()


def test_a_version_with_it_is_not_deployed(tmp_path: Path, sound: dict[str, bytes]) -> None:
    marker = tmp_path / "it-ran"
    for more in ({"model/x.pkl": pickled(marker)}, {"../outside": b"{}"}):
        made = planted(tmp_path / "bundles", {**sound, **more})
        version = ModelVersion(uri=made.uri, fingerprint="f", name="small", version="1", digest=made.digest)
        with pytest.raises(RayMlopsError, match=r"is a pickle|is no path below it"):
            deploy.run(DeployConfig(), a_run(tmp_path), version=version)
    assert not marker.exists() and not (tmp_path / "endpoints").exists()
