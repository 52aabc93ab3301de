"""Deploy of images: a registered version answers over HTTP, rolls over in place, and a broken one replaces nothing."""

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ray_mlops.contract import Endpoint, ModelVersion
from ray_mlops.errors import EndpointError, StorageError
from ray_mlops.platform.bundle import Bundle, origin
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.stages.images import deploy
from ray_mlops.stages.images.deploy import ImageDeployConfig
from ray_mlops.vision.predictor import ImagePredictor
from tests import small_images
from tests.small_images import a_run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def version(root: Path) -> ModelVersion:
    """A user's own algorithm, whose code travels in the bundle."""
    features = small_images.featured(root)
    trained = small_images.fitted(root, features)
    return small_images.registered(root, features, trained, small_images.judged(root, features, trained))


@pytest.fixture(scope="module")
def config() -> ImageDeployConfig:
    return ImageDeployConfig(port=free_port(), scale=Scale(max_replicas=1), limits=ImageLimits(max_images=3))


@pytest.fixture(scope="module")
def endpoint(ray_session: None, root: Path, config: ImageDeployConfig, version: ModelVersion) -> Iterator[Endpoint]:
    yield deploy.run(config, a_run(root, "deploy"), version=version)
    endpoints.undeploy("digits")


def lines(endpoint: Endpoint) -> list[dict[str, Any]]:
    files = sorted(Path(endpoint.capture).glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def test_the_endpoint_is_named_after_the_model_and_lives_in_the_root(
    endpoint: Endpoint, config: ImageDeployConfig, version: ModelVersion, root: Path
) -> None:
    assert endpoint.url == f"http://127.0.0.1:{config.port}/digits" and endpoint.route == "predict"
    assert (endpoint.name, endpoint.version, endpoint.digest) == ("digits", version.version, version.digest)
    assert endpoint.capture == str(root / "endpoints" / "digits" / "capture")
    assert Endpoint.model_validate_json((root / "endpoints" / "digits" / "endpoint.json").read_text()) == endpoint


def test_the_example_was_asked_through_the_front_door(endpoint: Endpoint, version: ModelVersion) -> None:
    told = httpx.get(f"{endpoint.url}/model").json()
    assert told["classes"] == list("0123456789") and told["digest"] == version.digest
    first = lines(endpoint)[0]
    answer = httpx.post(f"{endpoint.url}/predict", json=told["example"]).json()
    assert answer["class"] == first["decision"] and answer["version"] == version.version


def test_the_answers_are_those_of_the_predictor_on_the_bytes(endpoint: Endpoint, version: ModelVersion) -> None:
    predictor = ImagePredictor.load(Bundle.load(version.uri, digest=version.digest))
    pictures = [row["image"] for row in small_images.digits().slice(30, 3).to_pylist()]
    sent = {"images": [base64.b64encode(picture).decode() for picture in pictures]}
    answers = httpx.post(f"{endpoint.url}/predict", json=sent).json()["results"]
    for picture, answer in zip(pictures, answers, strict=True):
        (best,) = predictor.top(predictor.probabilities(predictor.transform.read(picture)[None])[0], 1)
        assert answer["class"] == best["class"]
        assert answer["probability"] == pytest.approx(best["probability"], abs=1e-5)
    refused = httpx.post(f"{endpoint.url}/predict", json={"images": sent["images"][:1] * 4})
    assert refused.status_code == 413 and "3" in refused.json()["error"]["message"]


def test_another_version_answers_at_the_same_place(
    endpoint: Endpoint, config: ImageDeployConfig, version: ModelVersion, root: Path
) -> None:
    again = deploy.run(config, a_run(root, "deploy"), version=version.model_copy(update={"version": "2"}))
    assert again.url == endpoint.url and httpx.get(f"{again.url}/model").json()["version"] == "2"
    assert lines(endpoint)[-1]["version"] == "2"


def test_a_broken_version_replaces_nothing(
    endpoint: Endpoint, config: ImageDeployConfig, version: ModelVersion, tmp_path: Path
) -> None:
    damaged = tmp_path / "bundles" / version.digest
    shutil.copytree(version.uri, damaged)
    (damaged / "classes.json").write_text("[]")
    with pytest.raises(StorageError, match=r"classes.json is damaged"):
        deploy.run(config, a_run(tmp_path, "deploy"), version=version.model_copy(update={"uri": str(damaged)}))
    assert not (tmp_path / "endpoints").exists()
    with pytest.raises(EndpointError, match=r"'digits' did not start: .*its file small_images.py is missing"):
        deploy.run(config, a_run(tmp_path, "deploy"), version=without_its_code(Path(version.uri), tmp_path))
    assert httpx.get(f"{endpoint.url}/model").json()["digest"] == version.digest


def without_its_code(whole: Path, folder: Path) -> ModelVersion:
    source = folder / "broken"
    shutil.copytree(whole, source, ignore=shutil.ignore_patterns("code", "manifest.json"))
    made = Bundle.write(str(source), str(folder / "bundles"))
    shutil.copyfile(origin(str(whole)), origin(made.uri))
    return ModelVersion(uri=made.uri, fingerprint="f", name="digits", version="9", digest=made.digest)
