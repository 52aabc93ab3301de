"""The one rule of names: what is legal, what is not, and that commands refuse it in one line and write nothing."""

import re
from pathlib import Path

import pytest

from ray_mlops import runs
from ray_mlops.cli import main
from ray_mlops.contract import names
from ray_mlops.contract.names import ENDPOINT, KEY, MODEL, RECIPE, REQUEST, ROLLOUT, RUN, TABLE, Kind
from ray_mlops.errors import ConfigError, RayMlopsError
from ray_mlops.platform.registry import Registry
from ray_mlops.platform.tracking import default_uri
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.rollouts import replicas
from ray_mlops.serving.rollouts.records import Records
from ray_mlops.stages import deploy
from tests.hostile_names import HOSTILE, tree

KINDS = [each for each in vars(names).values() if isinstance(each, Kind)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_names_nothing(kind: Kind, name: str) -> None:
    assert not kind.allows(name)
    with pytest.raises(ConfigError, match=f"cannot name {kind.what}: ") as refused:
        kind.check(name)
    told = str(refused.value)
    assert told.isascii() or told.replace("…", "").isascii()
    assert told.isprintable() and len(told) < 500


@pytest.mark.parametrize(
    ("kind", "legal"),
    [
        (ENDPOINT, ["a", "fraud", "Fraud_2-x", "0", "x" * 63, "x-", "x_", "console", "com", "lpt10"]),
        (MODEL, ["fraud.v2", "a..b", "x" * 100]),
        (RECIPE, ["vehicle_claims", "fraud-2.1"]),
        (TABLE, ["fraud.transactions", "a.b.c"]),
        (KEY, ["shop.eu-1"]),
        (REQUEST, ["night-7", "a:b.c_d", "4bf92f3577b34da6a3ce929d0e0e4736", "x" * 128]),
        (ROLLOUT, ["20260101T000000-a1b2c3"]),
        (RUN, ["fraud-20260101-000000-a1b2", f"{'x' * 63}-20260101-000000-a1b2"]),
    ],
)  # fmt: skip
def test_what_people_call_things_is_legal(kind: Kind, legal: list[str]) -> None:
    for name in legal:
        assert kind.check(name) == name and re.fullmatch(kind.pattern, name)
    assert not kind.allows("x" * (kind.most + 1)) and kind.optional("") == ""


FOLDERS = {
    "log": lambda root, name: endpoints.local_folder(root, name),
    "log beside a bucket": lambda root, name: endpoints.local_folder("s3://bucket/x", name),
    "queue": lambda root, name: endpoints.queue_folder(root, name),
    "rollouts": lambda root, name: Records(root, name),
    "a rollout": lambda root, name: Records(root, "fraud").read(name),
    "running": lambda root, name: replicas.known(root, name),
    "endpoint": lambda root, name: deploy.live_endpoint(root, name),
    "model": lambda root, name: Registry(default_uri(root)).versions(name),
    "run": lambda root, name: runs.record(root, name),
}


@pytest.mark.parametrize("place", FOLDERS)
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_no_place_is_made_of_it(place: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(RayMlopsError, match="cannot name "):
        FOLDERS[place](str(tmp_path / "root"), name)
    assert not tree(tmp_path)


COMMANDS = {
    "undeploy": ["undeploy", "--", "{}"],
    "rollback": ["rollback", "--", "{}"],
    "rollouts": ["rollouts", "--", "{}"],
    "a rollout": ["rollouts", "--", "fraud", "{}"],
    "promote": ["promote", "--", "{}"],
    "reject": ["reject", "--", "{}"],
    "verify": ["verify", "--", "{}"],
    "delete": ["delete", "--", "{}"],
    "deploy": ["deploy", "--", "{}"],
    "deploy as": ["deploy", "-s", "name={}", "fraud"],
    "canary": ["deploy", "--canary", "10", "--", "{}"],
    "deploy-many": ["deploy-many", "--", "{}", "fraud"],
    "loadtest": ["loadtest", "--", "{}"],
    "live": ["loadtest", "--live", "--", "{}"],
    "score": ["score", "file.parquet", "--model={}"],
    "keys create": ["keys", "create", "--", "{}"],
    "keys rotate": ["keys", "rotate", "--", "{}"],
    "keys revoke": ["keys", "revoke", "--", "{}"],
    "recipe": ["run", "--", "{}"],
    "recipe's name": ["run", "fraud", "-s", "name={}"],
    "model's name": ["run", "fraud", "-s", "register.name={}"],
    "endpoint's name": ["run", "fraud", "-s", "deploy.name={}"],
    "table's name": ["run", "fraud", "-s", "ingest.name=a.{}"],
    "pictures' name": ["run", "vision", "-s", "ingest.name=a.{}"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_it_in_one_line_and_write_nothing(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path / "ray"))
    monkeypatch.setenv("RAY_MLOPS_ROOT", str(tmp_path / "root"))
    for name in HOSTILE.values():
        if name == "" and command in ("endpoint's name", "deploy as", "a rollout"):
            continue  # there it says: the default
        assert main([part.replace("{}", name) for part in COMMANDS[command]]) in (1, 2), f"{name!r} was taken"
        told = capsys.readouterr()
        assert told.err.count("\n") == 1 and told.err.startswith("ray-mlops: ") and not told.out, f"{name!r}: {told}"
        assert {path for path in tree(tmp_path) if not path.startswith("root/access")} <= {"home", "root"}
