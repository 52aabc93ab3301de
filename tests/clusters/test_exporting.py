"""Exported manifests: they name one digest, say nothing secret, and are accepted by those that will read them."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from pydantic import ValidationError
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.serve.schema import ServeDeploySchema

from ray_mlops.clusters import exported, exporting
from ray_mlops.commands import administration
from ray_mlops.errors import ConfigError, EndpointError, StorageError
from ray_mlops.platform import files, registry
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving.access import keys
from tests.cluster import manifests
from tests.small_model import bundle

BUCKET = "exported"
NICENESS = {"name": "RAY_worker_niceness", "value": "0"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root with one champion, made without training."""
    folder = tmp_path_factory.mktemp("exporting")
    known = registry.open_registry(administration(str(folder)))
    made = known.register("fraud", bundle(folder))
    known.promote("fraud", made.version)
    return str(folder)


@pytest.fixture
def remote(root: str, s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The same in a root on S3, whose registry is a server's (here: a file)."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    there = f"s3://{BUCKET}/mlops"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/remote.db")
    known = registry.open_registry(administration(there))
    if not known.names():
        source = Path(root) / "bundles" / digest(root)
        known.register("fraud", Bundle.write(str(source), files.join(there, "bundles")))
        known.promote("fraud", "1")
    return there


def digest(root: str) -> str:
    return next(path.name for path in (Path(root) / "bundles").iterdir())


def application(config: Mapping[str, Any]) -> Mapping[str, Any]:
    (one,) = ServeDeploySchema.model_validate(dict(config)).model_dump()["applications"]
    return one


def test_serve_accepts_its_config_which_pins_the_digest(root: str) -> None:
    config = yaml.safe_load(exporting.export(root, "serve", "fraud@champion", ["scale.max_replicas=3"]))
    served = application(config)
    assert served["route_prefix"] == "/fraud" and served["args"]["version"]["digest"] == digest(root)
    assert config["http_options"]["host"] == "127.0.0.1"
    read = exported.Exported.model_validate(served["args"])
    assert read.config == {"scale": {"max_replicas": 3}}


def test_a_bundle_that_has_changed_since_is_not_exported_and_not_served(root: str, tmp_path: Path) -> None:
    config = yaml.safe_load(exporting.export(root, "serve", "fraud", []))
    arguments = exported.Exported.model_validate(application(config)["args"])
    wrong = arguments.version.model_copy(update={"digest": "0" * 64})
    with pytest.raises(StorageError, match="not the pinned 0000"):
        exported.app(arguments.model_copy(update={"version": wrong}))
    with pytest.raises(ValidationError, match="Extra inputs"):
        exported.Exported.model_validate({**arguments.model_dump(), "digset": "0"})


def test_pods_need_a_root_and_a_store_that_all_of_them_reach(root: str, remote: str) -> None:
    with pytest.raises(ConfigError, match="--root s3://"):
        exporting.export(root, "kuberay", "fraud", [])
    with pytest.raises(ConfigError, match="do not share the entity store sqlite"):
        exporting.export(remote, "kuberay", "fraud", ["store=sqlite:////tmp/e.db"])
    with pytest.raises(ConfigError, match="did you mean 'kuberay'|Did you mean 'kuberay'"):
        exporting.export(root, "kubray", "fraud", [])


def test_a_service_that_others_reach_asks_for_keys(remote: str) -> None:
    files.remove(keys.key_file(remote))
    with pytest.raises(EndpointError, match="ray-mlops keys create"):
        exporting.export(remote, "kuberay", "fraud", [])


def test_the_service_is_a_ray_service_of_exactly_this_digest(root: str, remote: str) -> None:
    keys.create(remote, "shop", ["score"])
    sized = ["scale.min_replicas=2", "scale.max_replicas=6", "scale.cpus=1"]
    text = exporting.export(remote, "kuberay", "fraud/1", sized, image="registry/ray-mlops@sha256:1")
    (service,) = manifests.documents(text)
    manifests.check(service)
    assert service["metadata"]["annotations"]["ray-mlops/digest"] == digest(root)
    served = application(yaml.safe_load(service["spec"]["serveConfigV2"]))
    assert served["args"]["version"]["digest"] == digest(root)
    assert served["args"]["config"]["store"] == "redis://:$REDIS_PASSWORD@redis:6379/1"
    pods = list(manifests.templates(service))
    assert all(manifests.confined(pod["spec"]) for pod in pods)
    assert all(NICENESS in pod["spec"]["containers"][0]["env"] for pod in pods)
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"registry/ray-mlops@sha256:1"}
    read = {"metadata": {"name": "fraud", "namespace": "x"}, "spec": service["spec"]["rayClusterConfig"]}
    group = _derive_autoscaling_config_from_ray_cr(read)["available_node_types"]["replicas"]
    assert (group["min_workers"], group["max_workers"], group["resources"]["CPU"]) == (1, 2, 4)


def test_compose_hands_the_config_to_one_node_and_listens_on_this_machine(root: str, tmp_path: Path) -> None:
    text = exporting.export(root, "compose", "fraud", ["name=Shop_Fraud"])
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    linter = Path(sys.executable).parent / "check-jsonschema"
    done = subprocess.run(
        [linter, "--builtin-schema", "vendor.compose-spec", path], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    made = yaml.safe_load(text)
    assert made["services"]["node"]["ports"] == ["127.0.0.1:8000:8000"]
    assert made["services"]["node"]["volumes"] == [f"{root}:{root}"]
    served = application(yaml.safe_load(made["configs"]["serve"]["content"].replace("$$", "$")))
    assert served["name"] == "Shop_Fraud" and served["args"]["version"]["digest"] == digest(root)
