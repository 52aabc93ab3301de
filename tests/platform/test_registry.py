"""Versions, aliases and approval in MLflow's own SQLite registry."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_mlops.contract import ModelVersion
from ray_mlops.errors import RegistryError, StorageError
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.registry import Registry
from ray_mlops.platform.tracking import default_uri

# Waits until all four have seen the champion, then promotes its own version in its place.
CONTENDER = """
import sys, time
from pathlib import Path
from ray_mlops.errors import RegistryError
from ray_mlops.platform.registry import Registry

registry, folder, version = Registry(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
champion = registry.champion("contested")
(folder / f"ready-{version}").touch()
while len(list(folder.glob("ready-*"))) < 4:
    time.sleep(0.01)
try:
    registry.promote("contested", version, over=champion)
except RegistryError as error:
    assert "another promotion was faster" in str(error)
    sys.exit(3)
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(default_uri(str(tmp_path_factory.mktemp("root"))))


@pytest.fixture()
def bundles(tmp_path: Path) -> Iterator[Bundle]:
    """An endless supply of different bundles."""
    return (_bundle(tmp_path, number) for number in range(100))


def _bundle(folder: Path, number: int) -> Bundle:
    source = folder / f"source{number}"
    source.mkdir()
    (source / "model").write_text(f"{folder} {number}")
    return Bundle.write(str(source), str(folder / "bundles"))


def test_versions_count_up_and_carry_the_bundle(registry: Registry, bundles: Iterator[Bundle]) -> None:
    bundle = next(bundles)
    first = registry.register("counting", bundle, metrics={"average_precision": 0.5}, run="r1", reason="first")
    second = registry.register("counting", next(bundles))
    assert (first.version, second.version) == ("1", "2")
    assert (first.digest, first.uri, first.run) == (bundle.digest, bundle.uri, "r1")
    assert first.metrics == {"average_precision": 0.5}
    assert first.approval == "pending" and first.aliases == ("challenger",)
    assert [version.version for version in registry.versions("counting")] == ["2", "1"]
    assert registry.version("counting", "challenger").version == "2"


def test_registering_the_same_digest_again_is_the_same_version(registry: Registry, bundles: Iterator[Bundle]) -> None:
    bundle = next(bundles)
    first = registry.register("same", bundle)
    registry.register("same", next(bundles))
    assert registry.register("same", bundle).version == first.version
    assert len(registry.versions("same")) == 2


def test_promotion_moves_the_alias_and_approves(registry: Registry, bundles: Iterator[Bundle]) -> None:
    for bundle in (next(bundles), next(bundles)):
        registry.register("promoting", bundle)
    assert registry.champion("promoting") is None
    assert registry.promote("promoting", "1", "first").aliases == ("champion",)
    promoted = registry.promote("promoting", "challenger", "better")
    assert (promoted.version, promoted.approval, promoted.aliases) == ("2", "approved", ("champion",))
    assert registry.version("promoting", "1").aliases == ()
    assert [(change.action, change.reason) for change in promoted.changes] == [
        ("registered", ""),
        ("promoted", "better"),
    ]


def test_rejecting_the_champion_brings_back_the_previous_approved(
    registry: Registry, bundles: Iterator[Bundle]
) -> None:
    for bundle in (next(bundles), next(bundles), next(bundles), next(bundles)):
        registry.register("rejecting", bundle)
    for version in ("2", "1", "3"):
        registry.promote("rejecting", version)
    heir = registry.reject("rejecting", "3", "too many alerts")
    assert heir is not None and heir.version == "1"
    rejected = registry.version("rejecting", "3")
    assert rejected.approval == "rejected" and rejected.aliases == ()
    assert rejected.changes[-1].reason == "too many alerts"
    assert "takes over from version 3" in heir.changes[-1].reason
    again = registry.reject("rejecting", "1")
    assert again is not None and again.version == "2"
    assert registry.reject("rejecting", "2") is None
    assert registry.champion("rejecting") is None


def test_rejecting_a_challenger_keeps_the_champion(registry: Registry, bundles: Iterator[Bundle]) -> None:
    registry.register("keeping", next(bundles))
    registry.promote("keeping", "1")
    registry.register("keeping", next(bundles))
    champion = registry.reject("keeping", "challenger")
    assert champion is not None and champion.version == "1"
    assert registry.version("keeping", "2").aliases == ()


def test_unknown_names_and_versions_get_the_nearest_legal_one(registry: Registry, bundles: Iterator[Bundle]) -> None:
    registry.register("transactions", next(bundles))
    with pytest.raises(RegistryError, match="Did you mean 'transactions'"):
        registry.promote("transaction", "1")
    with pytest.raises(RegistryError, match="no version '7'; it has 1/challenger"):
        registry.reject("transactions", "7")
    assert registry.versions("never-registered") == ()


@pytest.mark.parametrize("name", ["../escape", "a/b", "", "o'hara", ".hidden", "x" * 101])
def test_a_name_cannot_reach_beyond_itself(registry: Registry, bundles: Iterator[Bundle], name: str) -> None:
    with pytest.raises(RegistryError, match="cannot name a model"):
        registry.register(name, next(bundles))


def test_another_process_sees_the_same_versions(tmp_path: Path, bundles: Iterator[Bundle]) -> None:
    uri = default_uri(str(tmp_path / "root"))
    Registry(uri).register("fraud", next(bundles))
    assert Registry(uri).version("fraud", "1") == Registry(uri).versions("fraud")[0]
    assert Registry(uri).names() == ("fraud",)


def test_a_registry_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and it is long enough to look like a header")
    with pytest.raises(StorageError, match="cannot open MLflow at sqlite"):
        Registry(default_uri(str(tmp_path))).names()


def test_looking_into_a_registry_that_is_not_there_makes_none(tmp_path: Path) -> None:
    registry = Registry(default_uri(str(tmp_path)))
    assert registry.names() == () and registry.versions("fraud") == () and registry.champion("fraud") is None
    with pytest.raises(RegistryError, match="Nothing is registered yet"):
        registry.version("fraud", "1")
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_what_stages_hand_on(registry: Registry, bundles: Iterator[Bundle]) -> None:
    bundle = next(bundles)
    artifact = registry.register("handed-on", bundle).artifact()
    assert type(artifact) is ModelVersion
    assert (artifact.uri, artifact.fingerprint, artifact.digest) == (bundle.uri, bundle.digest, bundle.digest)


def test_of_promotions_decided_at_once_exactly_one_wins(tmp_path: Path, bundles: Iterator[Bundle]) -> None:
    """Four processes have seen the same champion, and each wants another version in its place."""
    registry = Registry(default_uri(str(tmp_path)))
    for _ in range(5):
        registry.register("contested", next(bundles))
    registry.promote("contested", "1", over=None)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CONTENDER, default_uri(str(tmp_path)), str(tmp_path)]
    contenders = [subprocess.Popen([*command, str(number)], env=environment) for number in (2, 3, 4, 5)]
    codes = [contender.wait(timeout=120) for contender in contenders]
    assert sorted(codes) == [0, 3, 3, 3]
    winner = str(codes.index(0) + 2)
    champion = registry.champion("contested")
    assert champion is not None and champion.version == winner
    promoted = [known.version for known in registry.versions("contested") if known.approval == "approved"]
    assert sorted(promoted) == ["1", winner]


def test_a_version_with_an_alias_is_not_deleted_and_its_number_is_not_given_again(
    registry: Registry, bundles: Iterator[Bundle]
) -> None:
    registry.register("deleting", next(bundles))
    registry.promote("deleting", "1")
    with pytest.raises(RegistryError, match="deleting/1 is not deleted: it is the champion"):
        registry.delete("deleting", "1")
    registry.register("deleting", next(bundles))
    registry.reject("deleting", "2")
    assert registry.delete("deleting", "2").version == "2"
    assert [version.version for version in registry.versions("deleting")] == ["1"]
    assert registry.register("deleting", next(bundles)).version == "3"
