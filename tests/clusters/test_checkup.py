"""Whether a request will ever fit, as told from nodes and from what the autoscaler may start."""

from pathlib import Path
from typing import Any

import pytest

from ray_mlops.clusters import checkup, doctor, submitting
from ray_mlops.errors import ConfigError
from ray_mlops.platform import room
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


def test_a_root_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    assert checkup.look(str(tmp_path), "node")["storage"] == ""
    assert not list((tmp_path / ".doctor").iterdir())
    (tmp_path / "file").write_text("")
    assert "cannot write" in checkup.look(str(tmp_path / "file"), "node")["storage"]


def test_a_recipe_says_what_it_asks_for() -> None:
    config, _ = load("fraud", ["train.workers=4", "train.gpu=true", "train.cpus_per_worker=2"])
    (asked,) = submitting.demands(config)
    assert (asked["count"], asked["resources"]) == (4, {"CPU": 2.0, "GPU": 1.0})


def test_a_root_that_would_vanish_with_the_job_is_refused() -> None:
    with pytest.raises(ConfigError, match="would lie in the job's own folder"):
        submitting.submit("fraud", "http://127.0.0.1:1", ["run"], [], root="mlops")


def test_a_cluster_that_is_not_there_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    found = doctor.examine("fraud", [], address="http://127.0.0.1:1", root="s3://bucket/mlops")
    assert [one["check"] for one in found] == ["upload", "cluster"]
    assert doctor.report(found) == 1
