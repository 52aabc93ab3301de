"""The workers of one fit on Ray Train: what joins them, how the driver waits for them, why they failed."""

import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ray_mlops.contract import PROGRESS, Backend, Run
from ray_mlops.errors import ConfigError, StorageError, TrainingError
from ray_mlops.platform import checkpoints, files
from ray_mlops.platform.ray_worker import PROGRESS_FILE, SCORE, UNJUDGED

FOLDER = "train"
CHECKPOINTS = "checkpoints"
_RECORD = "checkpoint_manager_snapshot.json"  # Ray's list of the checkpoints in the folder


@dataclass(frozen=True)
class Endurance:
    """What a fit survives: `retries` of workers that died, `start_minutes` of waiting for room; `kept` checkpoints.

    Nodes that went away after a notice are no failure and not counted."""

    retries: int
    start_minutes: int
    kept: int


def fit(
    work: Callable[[dict[str, Any]], Any],
    loop: Mapping[str, Any],
    run: Run,
    *,
    place: Mapping[str, Any],
    backend: Any,
    endurance: Endurance,
    data: Mapping[str, Any],
) -> tuple[Any, dict[str, float]]:
    """What `work` returns on rank 0, and the scores of the checkpoints that stay, by their folder.

    Ray's folder has the same name in each attempt, so a killed one is gone on with. Raises `TrainingError`.
    """
    from ray import train

    _mend(run)
    filesystem, path = files.filesystem(run.uri)
    score = SCORE if endurance.kept else None
    trainer = _trainer()(
        work,
        train_loop_config=dict(loop),
        scaling_config=train.ScalingConfig(**place),
        backend_config=backend,
        run_config=train.RunConfig(
            name=FOLDER,
            storage_path=path,
            storage_filesystem=filesystem,
            checkpoint_config=train.CheckpointConfig(
                num_to_keep=max(1, endurance.kept), checkpoint_score_attribute=score
            ),
            failure_config=train.FailureConfig(
                max_failures=endurance.retries,
                controller_failure_limit=endurance.start_minutes - 1,  # an attempt to start lasts a minute
            ),
        ),
        **data,
    )
    try:
        with _interruptible():
            result = trainer.fit()
    except train.TrainingFailedError as error:
        raise TrainingError(_reason(error, place)) from error
    kept = _kept(result.best_checkpoints or (), run, endurance.kept)
    files.remove(files.join(run.uri, FOLDER))
    return result.return_value, kept


def _trainer() -> Any:
    """Ray's trainer, but for the manager of data sets where there are none: a process which, while the first steps are
    done, takes more than a second of a core to start."""
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    class Trainer(DataParallelTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            found = super()._create_default_callbacks()
            return found if self.datasets else [one for one in found if not isinstance(one, DatasetsCallback)]

    return Trainer


def fit_here(work: Callable[[dict[str, Any]], Any], loop: Mapping[str, Any], run: Run) -> Any:
    """What `work` returns in this process, in Ray Train's local mode: no worker to wait for, and none to replace.

    Raises `TrainingError`.
    """
    from ray import train
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    here = train.ScalingConfig(num_workers=0)
    try:
        outcome = DataParallelTrainer(work, train_loop_config=dict(loop), scaling_config=here).fit().return_value
    except Exception as error:
        reason = "".join(traceback.format_exception_only(error)).strip()
        raise TrainingError(f"the fit failed on worker 0 of 1: {reason}") from error
    checkpoints.forget(run.uri)
    return outcome


def _mend(run: Run) -> None:
    """Forget checkpoints whose list was cut off by a kill while Ray wrote it; the fit starts over then."""
    record = files.join(run.uri, FOLDER, _RECORD)
    with suppress(StorageError):
        if not files.exists(record):
            return
        try:
            files.read_json(record)
        except ValueError:
            files.remove(files.join(run.uri, FOLDER))


def _kept(checkpoints: Any, run: Run, count: int) -> dict[str, float]:
    """Move the best checkpoints out of Ray's folder: `checkpoints/0` is the best."""
    judged = [pair for pair in checkpoints if pair[1].get(SCORE, UNJUDGED) > UNJUDGED]
    ranked = sorted(judged, key=lambda pair: -pair[1][SCORE])
    kept = {}
    for place, (checkpoint, metrics) in enumerate(ranked[:count]):
        target = files.join(run.uri, CHECKPOINTS, str(place))
        with checkpoint.as_directory() as folder:
            files.upload(folder, target)
        kept[target] = metrics[SCORE]
    return kept


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C be an interrupt: Ray takes the signal over, stops its workers, calls `sys.exit`, and keeps it for good."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, handler)


def backend_config(backend: Backend) -> Any:
    """What connects the workers. Only what is needed is imported: each of these modules costs seconds."""
    if backend == "torch":
        from ray.train.torch import TorchConfig

        return TorchConfig()
    if backend == "xgboost":
        from ray.train.xgboost import XGBoostConfig

        return XGBoostConfig()
    if backend == "lightgbm":
        from ray.train.lightgbm.config import LightGBMConfig

        return LightGBMConfig()
    raise ConfigError("the algorithm has backend 'none', so its workers could not meet: use --train.workers 1")


def _reason(error: Exception, place: Mapping[str, Any]) -> str:
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    if not failures:
        return f"cannot start {place['num_workers']} workers with {place['resources_per_worker']} each: {error}"
    rank, first = min(failures.items(), key=lambda item: item[0])
    lines = [line for line in str(first).splitlines() if line.strip()]
    reason = lines[-1].strip() if lines else repr(first)
    return f"the fit failed on worker {rank} of {place['num_workers']}: {reason}"


@contextmanager
def watched(run: Run) -> Iterator[None]:
    """Pass the progress that rank 0 writes down on to the terminal: a file needs no further process, a queue does."""
    over = threading.Event()
    path = files.join(run.uri, PROGRESS_FILE)

    def watch() -> None:
        while not over.wait(timeout=0.5):
            with suppress(
                StorageError, ValueError
            ):  # it is being written, or the store cannot be reached: the next look tells
                if files.exists(path):
                    run.progress(round(100 * files.read_json(path)[PROGRESS]), 100, "%")

    files.remove(path)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        files.remove(path)
