"""train: fit an algorithm with Ray Train, on one worker or many, on CPUs or GPUs, with the same code."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ray_mlops.algorithms import describe, with_settings
from ray_mlops.algorithms.worker import PROGRESS, validation_metrics
from ray_mlops.contract import Algorithm, Backend, Data, Decision, Features, Frozen, ImageFeatures, Run, Trained, Trials
from ray_mlops.errors import ConfigError, TrainingError
from ray_mlops.platform import files
from ray_mlops.platform.permission import require_model
from ray_mlops.platform.user_code import by_value
from ray_mlops.vision.parts import AnySource, source_of

MODEL = "model"
_TRAIN = "train"
_PROGRESS = "progress.json"
_GPU_BACKENDS: tuple[Backend, ...] = ("torch", "xgboost")


class TrainConfig(Frozen):
    """Where to fit: `workers` processes, each with a share of the training rows.

    `gpu` `auto` gives every worker a GPU when the cluster has enough of them and the algorithm's library can use one.
    `cpus_per_worker` reserves that many CPUs and uses as many threads; without it a worker reserves at most one, so
    that it can always start, and uses its share of the cores of its node. `retries` is how often workers that died are
    replaced, going on from the last checkpoint; `start_minutes` how long to wait until the cluster has room for them.
    On one worker a checkpoint is kept every `checkpoint_seconds`, on several at each report.
    """

    workers: int = Field(default=1, ge=1)
    gpu: bool | Literal["auto"] = "auto"
    cpus_per_worker: float | None = Field(default=None, gt=0)
    retries: int = Field(default=2, ge=0)
    start_minutes: int = Field(default=10, ge=1)
    checkpoint_seconds: float = Field(default=5.0, ge=0)


def run(
    config: TrainConfig,
    run: Run,
    *,
    features: Features | ImageFeatures,
    decision: Decision,
    algorithm: Algorithm,
    trials: Trials | None = None,
) -> Trained:
    """The model, in `run.uri`/model, fitted with the hyperparameters of the trials where they were searched.

    A killed attempt is gone on with from its last checkpoint. Raises `DecisionError` when the decision is against a
    model and `TrainingError` when the workers cannot start or the fit fails.
    """
    require_model(decision, run)
    chosen = with_settings(algorithm, trials.best if trials else {})
    job = _Job(algorithm=chosen, source=source_of(features), seed=run.seed, uri=run.uri, config=config)
    with by_value(chosen), _watched(run):
        metrics = _fit(job, run)
    return Trained(
        uri=run.uri,
        fingerprint=run.fingerprint,
        algorithm=describe(chosen),
        metrics=metrics,
        workers=config.workers,
        rows=features.rows["train"],
    )


def placement(config: TrainConfig, backend: Backend, cluster: Mapping[str, float]) -> dict[str, Any]:
    """The arguments of Ray's `ScalingConfig` for a cluster with these resources in all."""
    gpus = int(cluster.get("GPU", 0))
    wanted = backend in _GPU_BACKENDS and gpus >= config.workers if config.gpu == "auto" else config.gpu
    cpus = config.cpus_per_worker or min(1.0, cluster.get("CPU", 1.0) / config.workers)
    resources = {"CPU": cpus, **({"GPU": 1.0} if wanted else {})}
    return {"num_workers": config.workers, "use_gpu": bool(wanted), "resources_per_worker": resources}


@dataclass(frozen=True)
class _Job:
    """All that a worker has to be told."""

    algorithm: Algorithm
    source: AnySource
    seed: int
    uri: str
    config: TrainConfig


def _fit(job: _Job, run: Run) -> dict[str, float]:
    import ray
    from ray import train
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    # A report waits for the controller's next look at its workers, by default 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    filesystem, path = files.filesystem(run.uri)
    place = placement(job.config, job.algorithm.backend, ray.cluster_resources())
    trainer = DataParallelTrainer(
        _work,
        train_loop_config={"job": job},
        scaling_config=train.ScalingConfig(**place),
        backend_config=_backend(job.algorithm.backend) if job.config.workers > 1 else None,
        run_config=train.RunConfig(
            name=_TRAIN,  # the same name in the same folder: Ray goes on from the checkpoint of a killed attempt
            storage_path=path,
            storage_filesystem=filesystem,
            checkpoint_config=train.CheckpointConfig(num_to_keep=1),
            failure_config=train.FailureConfig(
                max_failures=job.config.retries,
                controller_failure_limit=job.config.start_minutes - 1,  # an attempt to start lasts a minute
            ),
        ),
    )
    try:
        with _interruptible():
            metrics = trainer.fit().return_value
    except train.TrainingFailedError as error:
        raise TrainingError(_reason(error, place)) from error
    assert metrics is not None
    files.remove(files.join(run.uri, _TRAIN))
    return metrics


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


def _backend(backend: Backend) -> Any:
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
    return f"the fit failed on worker {rank} of {place['num_workers']}: {lines[-1].strip() if lines else first!r}"


# ---- on the workers --------------------------------------------------------------------------------------------------


def _work(loop: dict[str, Any]) -> dict[str, float]:
    """Fit on this worker's share; rank 0 stores the model and returns the validation metrics."""
    import ray.train

    job: _Job = loop["job"]
    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    data = Data(job.source.read("train", rank, size), job.source.read("validation"), job.source.names)
    checkpoint = ray.train.get_checkpoint()
    with checkpoint.as_directory() if checkpoint else nullcontext() as resume:
        worker = _RayWorker(
            rank=rank,
            size=size,
            device=_device(),
            threads=_threads(job.config, context.get_local_world_size()),
            seed=job.seed,
            network=_network(job.algorithm.backend, size),
            resume=resume,
            job=job,
        )
        model = job.algorithm.fit(data, worker)
    if rank:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        files.upload(folder, files.join(job.uri, MODEL))
    features, labels = data.validation.arrays()
    return validation_metrics(labels, np.asarray(model.predict(features)))


def _device() -> str:
    import ray

    if not ray.get_gpu_ids():
        return "cpu"
    from ray.train.torch import get_device

    return str(get_device())


def _threads(config: TrainConfig, neighbours: int) -> int:
    return max(1, int(config.cpus_per_worker or (os.cpu_count() or 1) // neighbours))


def _network(backend: Backend, size: int) -> Mapping[str, Any]:
    if backend != "lightgbm" or size == 1:
        return {}
    from ray.train.lightgbm import get_network_params

    return get_network_params()


@dataclass
class _RayWorker:
    """The `Worker` of the contract, on Ray Train."""

    rank: int
    size: int
    device: str
    threads: int
    seed: int
    network: Mapping[str, Any]
    resume: str | None
    job: _Job
    reported: float = field(default_factory=time.monotonic)

    def wants_checkpoint(self) -> bool:
        """Whether a checkpoint that is reported now would be kept."""
        return self.size > 1 or time.monotonic() - self.reported >= self.job.config.checkpoint_seconds

    def report(self, metrics: Mapping[str, float], checkpoint: str | None = None) -> None:
        """Tell the driver how far the fit is, and keep the checkpoint."""
        import ray.train

        if self.rank == 0 and PROGRESS in metrics:
            files.write_json(files.join(self.job.uri, _PROGRESS), {PROGRESS: metrics[PROGRESS]})
        # A report takes up to 0.2 s. On several workers all have to make it, and none knows the clock of the others.
        if self.wants_checkpoint():
            kept = ray.train.Checkpoint.from_directory(checkpoint) if checkpoint else None
            ray.train.report(dict(metrics), checkpoint=kept)
            self.reported = time.monotonic()


@contextmanager
def _watched(run: Run) -> Iterator[None]:
    """Pass the progress that rank 0 writes down on to the terminal: a file needs no further process, a queue does."""
    over = threading.Event()
    path = files.join(run.uri, _PROGRESS)

    def watch() -> None:
        while not over.wait(timeout=0.5):
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
