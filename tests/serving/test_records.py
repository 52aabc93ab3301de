"""What answers with a bundle, as the files of a run root tell; and that a version in use is not deleted."""

import json
from pathlib import Path

import pytest

from ray_mlops import commands, runs
from ray_mlops.errors import ConfigError, EndpointError, RegistryError
from ray_mlops.platform import store
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.registry import Registry
from ray_mlops.platform.tracking import default_uri
from ray_mlops.serving import records
from ray_mlops.serving.rollouts.plan import Judging, parse
from ray_mlops.serving.rollouts.records import Records, Rollout, Side

GONE = "http://127.0.0.1:21199/one"  # nobody listens there


@pytest.fixture()
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A root with three versions of a model: an approved one, the champion, and the challenger."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path / "home"))
    registry = Registry(default_uri(str(tmp_path)))
    for number in range(3):
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source" / "model").write_text(str(number))
        version = registry.register("small", Bundle.write(str(tmp_path / "source"), str(tmp_path / "bundles")))
        if number < 2:
            registry.promote("small", version.version)
    return str(tmp_path)


def digest(root: str, version: str) -> str:
    return Registry(default_uri(root)).version("small", version).digest


def answer(root: str, version: str, name: str = "one") -> None:
    """Record an endpoint that answers with a version."""
    made = {
        "uri": f"{root}/artifacts/deploy/f", "fingerprint": "f", "name": name, "url": GONE, "version": version,
        "digest": digest(root, version), "capture": "",
    }  # fmt: skip
    records.write(root, name, records.ENDPOINT, made)


@pytest.mark.parametrize(("version", "alias"), [("2", "champion"), ("3", "challenger")])
def test_a_version_with_an_alias_stays(root: str, version: str, alias: str) -> None:
    with pytest.raises(RegistryError, match=f"small/{version} is not deleted: it is the {alias}"):
        commands.delete(root, f"small/{version}")


def test_a_version_that_answers_stays_until_its_endpoint_is_down(root: str) -> None:
    answer(root, "1")
    with pytest.raises(RegistryError, match="small/1 is not deleted: endpoint 'one' answers with it"):
        commands.delete(root, "small/1")
    commands.undeploy(root, "one")  # its cluster is gone: there is only the record to close
    with pytest.raises(EndpointError):
        commands.undeploy(root, "one")
    commands.delete(root, "small/1")
    assert [version.version for version in Registry(default_uri(root)).versions("small")] == ["3", "2"]


def test_an_endpoint_that_is_deployed_again_is_up_again(root: str) -> None:
    answer(root, "2")
    assert records.taken_down(root, "one") and records.uses(root) == ()
    answer(root, "1")
    assert [use.digest for use in records.uses(root)] == [digest(root, "1")]


def test_a_version_among_many_stays(root: str) -> None:
    models = {"small": {"version": "1", "digest": digest(root, "1")}}
    records.write(root, "many", records.MODELS, {"name": "many", "url": GONE, "models": models})
    with pytest.raises(RegistryError, match="endpoint 'many' has it among its models"):
        commands.delete(root, "small/1")


def test_a_version_in_a_rollout_stays_until_that_has_ended(root: str) -> None:
    answer(root, "2")
    sides = [Side(model="small", version=number, digest=digest(root, number)) for number in ("2", "1")]
    plan = parse(10.0, "", False, "60s", "", Judging())
    assert plan is not None
    begun = Rollout.begin("one", sides[0], sides[1], plan)
    Records(root, "one").write(begun)
    with pytest.raises(RegistryError, match=f"rollout {begun.id} of endpoint 'one' has not ended"):
        commands.delete(root, "small/1")
    Records(root, "one").write(begun.then("rolled_back"))
    commands.delete(root, "small/1")


def test_a_deleted_version_is_registered_again_by_the_next_run(root: str) -> None:
    folder = Path(store.folder(root, "register", "f"))
    folder.mkdir(parents=True)
    (folder / store.MANIFEST).write_text(json.dumps({"artifact": {"name": "small", "version": "1"}}))
    commands.delete(root, "small/1")
    assert not (folder / store.MANIFEST).exists()


def test_a_run_is_deleted_unless_it_is_under_way(root: str) -> None:
    folder = Path(root, "runs", "fraud-1")
    folder.mkdir(parents=True)
    for status in ("running", "done"):
        (folder / "run.json").write_text(json.dumps({"id": "fraud-1", "status": status, "stages": []}))
        if status == "running":
            with pytest.raises(ConfigError, match="run fraud-1 is under way"):
                commands.delete(root, "fraud-1")
    commands.delete(root, "fraud-1")
    assert not folder.exists() and runs.known(root) == []
