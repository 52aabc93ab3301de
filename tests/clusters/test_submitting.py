"""What a job is given: its package, where things are, and with `--install` the libraries."""

from collections.abc import Iterator
from typing import Any

import pytest
from packaging.requirements import Requirement
from ray.runtime_env import RuntimeEnv

from ray_mlops.clusters import packing, pins, submitting


class Jobs:
    """A cluster's jobs that notes what is submitted to it."""

    def __init__(self) -> None:
        self.submitted: list[dict[str, Any]] = []

    def submit_job(self, **given: Any) -> str:
        self.submitted.append(given)
        return "job-1"


@pytest.fixture
def package() -> Iterator[packing.Package]:
    with submitting.packed("fraud", ()) as made:
        yield made


def sent(package: packing.Package, *, install: bool) -> RuntimeEnv:
    """The runtime environment, as Ray's own check lets it pass."""
    jobs = Jobs()
    assert submitting._send(jobs, package, "python -m ray_mlops.cli run fraud", install) == "job-1"
    (given,) = jobs.submitted
    assert given["entrypoint"] == "python -m ray_mlops.cli run fraud"
    return RuntimeEnv(**given["runtime_env"])


def test_with_install_every_library_is_asked_for_in_the_version_of_here(package: packing.Package) -> None:
    environment = sent(package, install=True)
    asked = [Requirement(text) for text in environment["pip"]["packages"]]
    versions = {one.name: str(one.specifier).removeprefix("==") for one in asked}
    assert {"numpy", "pyarrow", "xgboost-cpu", "lightgbm", "pydantic", "starlette"} <= set(versions)
    assert not {"ray", "python", "ray-mlops", "pytest"} & set(versions), (
        "Ray is the cluster's own, our code is in the package"
    )
    assert {name: version.partition("+")[0] for name, version in pins.pinned().items() if name in versions} == versions
    assert environment["working_dir"] == package.folder


def test_without_it_nothing_is_installed_and_no_credentials_travel(
    package: packing.Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:22501")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:22502")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    environment = sent(package, install=False)
    assert "pip" not in environment
    assert environment["env_vars"]["AWS_ENDPOINT_URL"] == "http://127.0.0.1:22501"
    assert environment["env_vars"]["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:22502"
    assert "secret" not in str(environment)
