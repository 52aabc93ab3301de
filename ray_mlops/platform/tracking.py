"""Runs in MLflow: a tracker per run, and the one door through which this package reaches MLflow.

MLflow takes seconds to import and is talkative, so it is imported here, on first use, in the driver only. A tracker
collects what the stages found and writes it once, when the run ends: nothing waits for MLflow while work is going on.
"""

import fcntl
import hashlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ray_mlops.contract import Run
from ray_mlops.errors import StorageError
from ray_mlops.platform import files, runtime

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

Status = Literal["FINISHED", "FAILED", "KILLED"]
_SQLITE = "sqlite:///"
_LONGEST_VALUE = 5_000


class Tracker(Protocol):
    """Where a run leaves its parameters, figures and outcome."""

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Note settings; nested mappings become dotted names."""
        ...

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Note figures at a step."""
        ...

    def tags(self, values: Mapping[str, str]) -> None:
        """Note names and references."""
        ...

    def finish(self, status: Status) -> None:
        """End the run; what was noted is stored now."""
        ...


class NullTracker:
    """A tracker that forgets."""

    def parameters(self, values: Mapping[str, Any]) -> None:
        del values

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        del values, step

    def tags(self, values: Mapping[str, str]) -> None:
        del values

    def finish(self, status: Status) -> None:
        del status


class MlflowTracker:
    """A tracker that writes one MLflow run, into the experiment named after the recipe, when the run finishes."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._started = _milliseconds()
        self._parameters: dict[str, str] = {}
        self._metrics: list[tuple[str, float, int, int]] = []
        self._tags: dict[str, str] = {"ray_mlops.run": run.id, "mlflow.runName": run.id}

    def parameters(self, values: Mapping[str, Any]) -> None:
        for name, value in _flat(values):
            self._parameters[name] = str(value)[:_LONGEST_VALUE]

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        now = _milliseconds()
        self._metrics.extend((name, float(value), now, step) for name, value in values.items())

    def tags(self, values: Mapping[str, str]) -> None:
        self._tags.update({name: str(value)[:_LONGEST_VALUE] for name, value in values.items()})

    def finish(self, status: Status) -> None:
        """Write the run; raises `StorageError` when MLflow cannot be reached."""
        client = connect(tracking_uri(self._run))
        with _storage(self._run):
            from mlflow.entities import Metric, Param, RunTag

            experiment = client.get_experiment_by_name(self._run.recipe)
            place = files.join(self._run.root, "mlflow")
            number = experiment.experiment_id if experiment else client.create_experiment(self._run.recipe, place)
            made = client.create_run(number, start_time=self._started, tags=self._tags)
            figures = [Metric(name, value, when, step) for name, value, when, step in self._metrics]
            settings = [Param(name, value) for name, value in self._parameters.items()]
            for part in range(0, max(len(figures), len(settings)), 100):  # MLflow takes 100 parameters at a time
                client.log_batch(
                    made.info.run_id,
                    metrics=figures[part : part + 100],
                    params=settings[part : part + 100],
                    tags=[RunTag("ray_mlops.status", status)],
                )
            client.set_terminated(made.info.run_id, status=status)


def configured() -> str:
    """The MLflow address in the environment; empty where none is set."""
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def tracking_uri(run: Run) -> str:
    """The MLflow address of a run: its own setting, else the default of its root."""
    return run.tracking_uri or default_uri(run.root)


def default_uri(root: str) -> str:
    """SQLite in a local root; for a remote root, which cannot hold a database, SQLite in this user's home folder."""
    if not files.is_remote(root):
        return f"{_SQLITE}{Path(files.absolute(root)) / 'mlflow.db'}"
    key = hashlib.blake2b(root.rstrip("/").encode(), digest_size=8).hexdigest()
    return f"{_SQLITE}{runtime.home() / f'mlflow-{key}.db'}"


def exists(uri: str) -> bool:
    """Whether there may be something at the address: False for a SQLite file that was not made yet."""
    return not uri.startswith(_SQLITE) or Path(uri.removeprefix(_SQLITE)).exists()


def connect(uri: str) -> "MlflowClient":
    """A client of the MLflow at `uri`; the database is made when it is not there yet.

    Raises `StorageError` when it cannot be opened.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        with _one_creator(uri):
            if not exists(uri):
                _create(Path(uri.removeprefix(_SQLITE)))
            client = _open(uri)
    except Exception as error:  # MLflow lets database drivers' own exceptions through
        raise StorageError(
            f"cannot open MLflow at {uri}: {error}. Check the address, its rights and free space."
        ) from error
    return client


def open_early(uri: str) -> None:
    """Import MLflow and make its database in a thread, while this process waits for something else.

    Both take about 5 s together. What fails here fails again, with its message, where MLflow is needed.
    """
    if "mlflow" not in sys.modules:
        threading.Thread(target=_tried, args=(uri,), name="mlflow", daemon=True).start()


def _tried(uri: str) -> None:
    with suppress(StorageError):
        connect(uri)


def _open(uri: str) -> "MlflowClient":
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.search_registered_models(max_results=1)
    return client


def _create(path: Path) -> None:
    """Make a database under another name: a process that is killed meanwhile must not leave half of the tables."""
    part = path.with_suffix(f".{os.getpid()}")
    try:
        _open(f"{_SQLITE}{part}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _one_creator(uri: str) -> Iterator[None]:
    """Two processes must not make the tables of one SQLite file at the same time."""
    if not uri.startswith(_SQLITE):
        yield
        return
    with _locked(uri, ".lock"):
        yield


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Changes that must follow one another at an MLflow address, of whatever processes, where the address is a file."""
    if not uri.startswith(_SQLITE):
        yield
        return
    try:
        lock = _locked(uri, ".changes")
        lock.__enter__()
    except OSError as error:
        raise StorageError(f"cannot change the registry at {uri}: {error}. Check its rights and free space.") from error
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


@contextmanager
def _locked(uri: str, suffix: str) -> Iterator[None]:
    path = Path(uri.removeprefix(_SQLITE))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(suffix).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _storage(run: Run) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise StorageError(f"MLflow at {tracking_uri(run)} did not take run {run.id}: {error}") from error


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _milliseconds() -> int:
    return int(time.time() * 1000)
