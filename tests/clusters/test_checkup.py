"""Whether a request will ever fit, as told from nodes and from what the autoscaler may start."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ray_mlops.clusters import checkup, doctor, pins, submitting
from ray_mlops.errors import ConfigError
from ray_mlops.platform import room
from ray_mlops.platform.cores import cores
from ray_mlops.recipes import load

SMALL = room.Kind("small", 1, {"CPU": 4.0})
GPU = room.Kind("gpu", 2, {"CPU": 8.0, "GPU": 1.0})


def demand(count: int, **resources: float) -> dict[str, Any]:
    return {"what": "train.workers", "count": count, "resources": resources}


def test_what_fits_now_fits() -> None:
    found = checkup.demanded(demand(4, CPU=2.0), [SMALL, SMALL], [])
    assert found["ok"] and "there is room" in found["found"] and not found["todo"]


def test_what_the_autoscaler_can_start_fits_later() -> None:
    found = checkup.demanded(demand(2, CPU=1.0, GPU=1.0), [SMALL], [GPU])
    assert found["ok"] and "the autoscaler can make room" in found["found"]


@pytest.mark.parametrize(
    ("wanted", "later", "most"),
    [(demand(1, GPU=1.0), [], 0), (demand(3, GPU=1.0), [GPU], 2), (demand(1, CPU=16.0), [GPU], 0)],
)
def test_what_will_never_fit_is_said_at_once(wanted: dict[str, Any], later: list[room.Kind], most: int) -> None:
    found = checkup.demanded(wanted, [SMALL], later)
    assert not found["ok"] and f"will never fit: there is room for {most} of" in found["found"] and found["todo"]


def test_what_may_fit_as_far_as_is_known_is_not_refused() -> None:
    found = checkup.demanded(demand(1, GPU=1.0), [SMALL], None)
    assert found["ok"] and "may make room, but does not tell what it can start" in found["found"]


def test_what_the_autoscaler_may_start_is_told_in_its_config(tmp_path: Path) -> None:
    config = tmp_path / "bootstrap.yaml"
    kinds = {"head": {"resources": {"CPU": 2}}, "gpu": {"resources": {"GPU": 1}}, "cpu": {"resources": {"CPU": 8}}}
    kinds["cpu"]["max_workers"] = 9
    told = {"head_node_type": "head", "max_workers": 4, "available_node_types": kinds}
    config.write_text(yaml.safe_dump(told))
    assert room._startable(config) == [room.Kind("cpu", 4, {"CPU": 8}), room.Kind("gpu", 4, {"GPU": 1})]
    kinds["cpu"]["resources"] = {}
    config.write_text(yaml.safe_dump(told))
    assert room._startable(config) is None
    for unreadable in ("available_node_types: {}", "[", ""):
        config.write_text(unreadable)
        assert room._startable(config) is None
    assert room._startable(tmp_path) is None


def test_a_root_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    assert checkup.look(str(tmp_path), "node")["storage"] == ""
    assert not list((tmp_path / ".doctor").iterdir())
    (tmp_path / "file").write_text("")
    assert "cannot write" in checkup.look(str(tmp_path / "file"), "node")["storage"]


@pytest.mark.parametrize(
    ("told", "check", "words"),
    [
        ({}, "", ""),
        ({"time": 109.0}, "", ""),  # it was asked somewhen between
        ({"time": 93.0}, "clock", "node: 7.0 s off"),
        ({"time": 113.5}, "clock", "node: 3.5 s off"),
        ({"free": 4 << 30}, "disk", "node: 4 GB free"),
        ({"storage": "cannot write s3://b/x"}, "storage", "node: cannot write s3://b/x"),
    ],
)
def test_what_is_wrong_with_a_node_is_found(told: dict[str, Any], check: str, words: str) -> None:
    sound = {"storage": "", "time": 100.0, "free": 50 << 30}
    found = list(checkup.of_node("node", {**sound, **told}, "s3://b/x", asked=(100.0, 110.0)))
    assert [one["check"] for one in found] == ["storage", "clock", "disk"]
    wrong = [one for one in found if not one["ok"]]
    assert [one["check"] for one in wrong] == ([check] if check else [])
    assert not wrong or (wrong[0]["found"] == words and wrong[0]["todo"])


def test_other_versions_are_found_and_told_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {"pins": {**pins.pinned(), "numpy": "0.1"}}
    (found,) = checkup.check(wanted)
    assert (found["check"], found["ok"]) == ("versions", False) and "instead of 0.1" in found["found"]
    assert checkup.main({**wanted, "plain": True}) == 1
    assert "ray-mlops: versions: numpy" in capsys.readouterr().out
    assert checkup.main({"pins": pins.pinned()}) == 0


def test_a_recipe_says_what_it_asks_for() -> None:
    config, _ = load("fraud", ["train.workers=4", "train.gpu=true", "train.cpus_per_worker=2"])
    (asked,) = submitting.demands(config)
    assert (asked["count"], asked["resources"]) == (4, {"CPU": 2.0, "GPU": 1.0})


def test_a_root_that_would_vanish_with_the_job_is_refused() -> None:
    with pytest.raises(ConfigError, match="would lie in the job's own folder"):
        submitting.submit("fraud", "http://127.0.0.1:1", ["run"], [], root="mlops")


def test_an_authority_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match="SSL_CERT_FILE is .*none.pem, where nothing is"):
        submitting.submit("fraud", "https://127.0.0.1:1", ["run"], [], root="s3://bucket/mlops")


def test_a_cluster_that_is_not_there_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    found = doctor.examine("fraud", [], address="http://127.0.0.1:1", root="s3://bucket/mlops")
    assert [one["check"] for one in found] == ["upload", "cluster"]
    assert doctor.report(found) == 1


def test_our_own_head_has_the_cores_of_the_machine_and_not_what_it_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert checkup.cores() == cores()
