"""A registered version as a function of MLflow gives the numbers of its endpoint."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from ray_mlops.contract import ModelVersion, Run
from ray_mlops.errors import StorageError
from ray_mlops.platform import tracking
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.image_replica import ImageReplica, ImageSettings
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.replica import Replica, Settings
from ray_mlops.stages import register
from ray_mlops.stages.register import RegisterConfig
from ray_mlops.vision.decoding import Undecodable
from tests import small_images
from tests.serving.access.live import live
from tests.small_model import example, study, transactions
from tests.vision.pictures import encoded


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def fraud(root: Path) -> ModelVersion:
    run = Run(root=str(root), id="r1", recipe="small", uri=str(root / "artifact"), fingerprint="print")
    return register.run(RegisterConfig(name="small"), run, **study(root))


@pytest.fixture(scope="module")
def vision(root: Path) -> ModelVersion:
    features = small_images.featured(root)
    trained = small_images.fitted(root, features)
    return small_images.registered(root, features, trained, small_images.judged(root, features, trained))


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    """MLflow writes the address it was given into the environment, for all that comes after."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.setenv(name, "")
        yield


def load(root: Path, version: ModelVersion) -> Any:
    mlflow.set_registry_uri(tracking.default_uri(str(root)))
    mlflow.set_tracking_uri(tracking.default_uri(str(root)))
    return mlflow.pyfunc.load_model(f"models:/{version.name}/{version.version}")


def pinned(version: ModelVersion, root: Path) -> dict[str, str]:
    same = {"name": version.name, "bundle": version.uri, "digest": version.digest, "version": version.version}
    return {**same, "capture": str(root / "capture" / version.name)}


@contextmanager
def answering(replica: Any, settings: Any) -> Iterator[str]:
    with live(replica(settings.model_dump(mode="json")).__serve_build_asgi_app__()) as url:
        yield url


def test_the_features_that_an_endpoint_logs_get_its_numbers(root: Path, fraud: ModelVersion) -> None:
    rows = [example(transactions(400), place) for place in range(400)]
    settings = Settings(**pinned(fraud, root), store=f"sqlite:///{root}/entities.db", limits=Limits())
    with answering(Replica, settings) as url:
        told = httpx.post(f"{url}/score", json={"transactions": rows}, params={"reasons": 0}, timeout=60).json()[
            "results"
        ]
    (log,) = Path(settings.capture).glob("*.jsonl")
    frame = pd.DataFrame([json.loads(line)["features"] for line in log.read_text().splitlines()])
    assert frame["customer_id_count_1d"].max() > 1  # windows that have seen others
    function = load(root, fraud)
    found = function.predict(frame)
    assert found.to_dict("records") == [{name: one[name] for name in found} for one in told]
    assert set(found["decision"]) == {"approve", "block"}
    # Columns are told by their names, and whole numbers are numbers.
    turned = frame[frame.columns[::-1]].astype({"customer_id_count_1d": "int32"})
    assert function.predict(turned).equals(found)


def test_a_picture_gets_the_numbers_of_its_endpoint(root: Path, vision: ModelVersion) -> None:
    settings = ImageSettings(**pinned(vision, root), limits=ImageLimits())
    files = [encoded(np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)) for seed in range(20)]
    listed = [base64.b64encode(file).decode() for file in files]
    with answering(ImageReplica, settings) as url:
        told = httpx.post(f"{url}/predict", json={"images": listed}, params={"top": 10}, timeout=60).json()["results"]
    function = load(root, vision)
    found = function.predict(pd.DataFrame({"image": files}))
    assert found["class"].tolist() == [one["class"] for one in told]
    # The endpoint may have asked the model for other pictures together, which changes sums in the last digit.
    assert found["probability"].tolist() == pytest.approx([one["probability"] for one in told], rel=1e-6)
    classes = Bundle.load(vision.uri).json("classes.json")
    for given, one in zip(found["probabilities"], told, strict=True):
        named = {each["class"]: each["probability"] for each in one["top"]}
        assert given == pytest.approx([named[name] for name in classes], rel=1e-6)
    with pytest.raises(Undecodable):
        function.predict(pd.DataFrame({"image": [b"none"]}))


def test_the_signature_is_that_of_the_bundle_and_the_example_fits(
    root: Path, fraud: ModelVersion, vision: ModelVersion
) -> None:
    function = load(root, fraud)
    names = [column.name for column in function.metadata.get_input_schema().inputs]
    assert names == list(pd.DataFrame(function.input_example).columns) and "terminal_id_mean_is_fraud_7d" in names
    assert function.metadata.get_output_schema().input_names() == ["score", "probability", "decision"]
    assert function.predict(function.input_example)["score"].between(0, 1).all()
    images = load(root, vision)
    (shown,) = images.input_example["image"]
    assert shown == Path(Bundle.load(vision.uri).path("example.png")).read_bytes()
    assert images.predict(images.input_example)["class"].isin([str(digit) for digit in range(10)]).all()
    assert images.metadata.get_output_schema().input_names() == ["class", "probability", "probabilities"]


def test_transactions_are_refused_for_a_function_has_no_history(root: Path, fraud: ModelVersion) -> None:
    with pytest.raises(MlflowException, match="missing inputs.*customer_id_count_1d"):
        load(root, fraud).predict(transactions(5).to_pandas())


def test_a_copy_that_was_changed_is_not_loaded(root: Path, fraud: ModelVersion, tmp_path: Path) -> None:
    copy = Path(mlflow.artifacts.download_artifacts(fraud.uri, dst_path=str(tmp_path)))
    assert mlflow.pyfunc.load_model(str(copy)).predict(load(root, fraud).input_example).shape == (1, 3)
    thresholds = copy / "thresholds.json"
    thresholds.write_text(thresholds.read_text().replace("0.3", "0.9"))
    with pytest.raises(StorageError, match="thresholds.json is damaged"):
        mlflow.pyfunc.load_model(str(copy))
