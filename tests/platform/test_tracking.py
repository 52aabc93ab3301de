"""Runs in MLflow, read back through MLflow's own client."""

import subprocess
import sys
from pathlib import Path

import pytest

from ray_mlops.commands import administration
from ray_mlops.contract import Run
from ray_mlops.errors import StorageError
from ray_mlops.platform import tracking
from ray_mlops.platform.tracking import MlflowTracker, NullTracker, Tracker


def test_a_run_is_written_with_parameters_metrics_tags_and_status(tmp_path: Path) -> None:
    run = Run(root=str(tmp_path), id="r-1", recipe="fraud")
    tracker: Tracker = MlflowTracker(run)
    tracker.parameters({"train": {"workers": 2, "algorithm": {"depth": 6}}, "note": "x" * 10_000})
    tracker.metrics({"average_precision": 0.61})
    tracker.metrics({"average_precision": 0.64}, step=1)
    tracker.tags({"report": "/somewhere/report.html"})
    tracker.finish("FAILED")
    client = tracking.connect(tracking.tracking_uri(run))
    experiment = client.get_experiment_by_name("fraud")
    assert experiment is not None and experiment.artifact_location.startswith(str(tmp_path))
    (found,) = client.search_runs([experiment.experiment_id], "tags.`ray_mlops.run` = 'r-1'")
    assert found.info.status == "FAILED"
    assert found.data.params["train.algorithm.depth"] == "6"
    assert found.data.tags["report"] == "/somewhere/report.html"
    history = client.get_metric_history(found.info.run_id, "average_precision")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.61), (1, 0.64)]


def test_more_parameters_than_mlflow_takes_at_once(tmp_path: Path) -> None:
    run = Run(root=str(tmp_path), id="many", recipe="fraud")
    tracker = MlflowTracker(run)
    tracker.parameters({f"p{number}": number for number in range(250)})
    tracker.finish("FINISHED")
    client = tracking.connect(tracking.tracking_uri(run))
    (found,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert len(found.data.params) == 250


def test_nothing_is_written_before_the_end_and_the_null_tracker_never_writes(tmp_path: Path) -> None:
    for tracker in (NullTracker(), MlflowTracker(Run(root=str(tmp_path), id="r", recipe="fraud"))):
        tracker.parameters({"a": 1})
        tracker.metrics({"b": 1.0})
        tracker.tags({"c": "d"})
    NullTracker().finish("FINISHED")
    assert list(tmp_path.iterdir()) == []


def test_the_address_is_the_runs_own_or_the_default_of_its_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path / "home"))
    assert tracking.tracking_uri(Run(root="/r", id="i", recipe="f", tracking_uri="http://mlflow")) == "http://mlflow"
    assert tracking.tracking_uri(Run(root="/r", id="i", recipe="f")) == "sqlite:////r/mlflow.db"
    remote = tracking.default_uri("s3://bucket/runs")
    assert remote.startswith(f"sqlite:///{tmp_path}/home/mlflow-")
    assert remote == tracking.default_uri("s3://bucket/runs/") != tracking.default_uri("s3://bucket/others")


def test_an_address_nobody_answers_is_a_clear_error() -> None:
    with pytest.raises(StorageError, match="cannot open MLflow at nonsense://x"):
        tracking.connect("nonsense://x")


def test_importing_the_module_does_not_import_mlflow() -> None:
    code = "import sys, ray_mlops.platform.registry, ray_mlops.platform.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_database_is_made_whole_under_its_name(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracking.open_early(uri)
    tracking.connect(uri)  # meets the thread, or comes first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.lock"]


def test_every_command_asks_the_mlflow_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    assert tracking.tracking_uri(administration(str(tmp_path))).endswith("elsewhere.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking.tracking_uri(administration(str(tmp_path))).endswith("mlflow.db")
