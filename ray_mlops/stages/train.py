"""train: fit an algorithm with Ray Train, on one worker or many, on CPUs or GPUs, with the same code."""

import math
import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from ray_mlops.algorithms import describe, with_settings
from ray_mlops.algorithms.worker import validation_metrics
from ray_mlops.contract import Algorithm, Backend, Data, Decision, Features, Frozen, ImageFeatures, Run, Trained, Trials
from ray_mlops.errors import TrainingError
from ray_mlops.platform import checkpoints, files, fleet, ray_worker, room
from ray_mlops.platform.permission import require_model
from ray_mlops.platform.provenance import machine
from ray_mlops.platform.ray_worker import RayWorker
from ray_mlops.platform.user_code import by_value
from ray_mlops.vision.parts import AnySource, source_of

MODEL = "model"
_GPU_BACKENDS: tuple[Backend, ...] = ("torch", "xgboost")


def _legal_span(workers: int | tuple[int, int]) -> int | tuple[int, int]:
    low, high = workers if isinstance(workers, tuple) else (workers, workers)
    if not 1 <= low <= high:
        raise ValueError("a number of workers, or the least and the most of them, such as [2,8]")
    return workers


class TrainConfig(Frozen):
    """Where to fit: `workers` processes, each with a share of the training rows; with two numbers, as many between them
    as the cluster has room for, more or fewer when that changes.

    `gpu` `auto` gives every worker a GPU when the cluster has enough of them and the algorithm's library can use one.
    `cpus_per_worker` reserves that many CPUs and uses as many threads; without it a worker reserves at most one, so
    that it can always start, and uses its share of the cores of its node; `threads` sets them apart from that (a network
    whose batches are not small rounds otherwise with another number). `retries` is how often workers that died are
    replaced, going on from the last checkpoint; `start_minutes` how long to wait until the cluster has room for them.
    A checkpoint is kept every `checkpoint_seconds`, which costs about 0.2 s, and when a node is about to be taken away;
    the best `checkpoints` stay beside the model. `resize_seconds` is how often an elastic fit looks for more room.
    `stream` reads the training rows through Ray Data instead of into memory. `cost_per_hour` is the price of a worker,
    for the record. At most `in_process_rows` rows for one worker without a GPU, on a cluster of one node, are fitted in
    this process: Ray Train would take about 15 s to start a worker. A process that dies is then no worker to be
    replaced; the command has to be run again, and goes on from the last checkpoint as well.
    """

    workers: Annotated[int | tuple[int, int], AfterValidator(_legal_span)] = 1
    gpu: bool | Literal["auto"] = "auto"
    cpus_per_worker: float | None = Field(default=None, gt=0)
    threads: int | None = Field(default=None, ge=1)
    retries: int = Field(default=2, ge=0)
    start_minutes: int = Field(default=10, ge=1)
    checkpoint_seconds: float = Field(default=20.0, ge=0)
    checkpoints: int = Field(default=0, ge=0)
    resize_seconds: float = Field(default=60.0, ge=0)
    stream: bool = False
    cost_per_hour: float | None = Field(default=None, ge=0)
    in_process_rows: int = Field(default=500_000, ge=0)

    @property
    def span(self) -> tuple[int, int]:
        """The least and the most workers."""
        return self.workers if isinstance(self.workers, tuple) else (self.workers, self.workers)


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
    rows = features.rows["train"]
    job = _Job(chosen, source_of(features), run.seed, run.uri, config, rows=rows, started=time.time())
    with by_value(chosen), fleet.watched(run):
        outcome, kept = _fit(job, run)
    return Trained(
        uri=run.uri,
        fingerprint=run.fingerprint,
        algorithm=describe(chosen),
        metrics=outcome.metrics,
        workers=outcome.workers,
        threads=outcome.threads,
        hardware=outcome.hardware,
        rows=rows,
        performance=outcome.performance,
        checkpoints=kept,
    )


def placement(config: TrainConfig, backend: Backend, cluster: Mapping[str, float]) -> dict[str, Any]:
    """The arguments of Ray's `ScalingConfig` for a cluster with these resources in all."""
    least, most = config.span
    gpus, cores = int(cluster.get("GPU", 0)), cluster.get("CPU", 1.0)
    wanted = backend in _GPU_BACKENDS and gpus >= least if config.gpu == "auto" else config.gpu
    free = max(cores - 1, cores / 2) if config.stream else cores  # Ray Data needs a core, or the workers wait for ever
    cpus = config.cpus_per_worker or min(1.0, free / (most if config.stream else least))
    resources = {"CPU": cpus, **({"GPU": 1.0} if wanted else {})}
    return {
        "num_workers": config.workers,
        "use_gpu": bool(wanted),
        "resources_per_worker": resources,
        "elastic_resize_monitor_interval_s": config.resize_seconds,
    }


def fits_here(config: TrainConfig, rows: int, *, gpu: bool) -> bool:
    """Whether one worker with so many training rows may be this process, as far as the settings go."""
    return rows <= config.in_process_rows and not (gpu or config.stream or config.checkpoints)


@dataclass(frozen=True)
class _Job:
    """All that a worker has to be told; `rows` are the training rows, `started` is when the stage began (Unix time).

    `here` says that the worker is the process of the command, whose checkpoints are its own business.
    """

    algorithm: Algorithm
    source: AnySource
    seed: int
    uri: str
    config: TrainConfig
    rows: int
    started: float
    here: bool = False


@dataclass(frozen=True)
class _Outcome:
    """What rank 0 gives back."""

    metrics: dict[str, float]
    performance: dict[str, float]
    workers: int
    threads: int
    hardware: dict[str, Any]


def _fit(job: _Job, run: Run) -> tuple[_Outcome, dict[str, float]]:
    import ray

    config = job.config
    alone = config.span == (1, 1)
    place = placement(config, job.algorithm.backend, ray.cluster_resources())
    if alone and len(ray.nodes()) == 1 and fits_here(config, job.rows, gpu=place["use_gpu"]):
        return fleet.fit_here(_work, {"job": replace(job, here=True)}, run), {}
    _require_room(place["resources_per_worker"])
    return fleet.fit(
        _work,
        {"job": job},
        run,
        place=place,
        backend=None if alone else fleet.backend_config(job.algorithm.backend),
        endurance=fleet.Endurance(config.retries, config.start_minutes, config.checkpoints),
        data=_streamed(job),
    )


def _require_room(resources: Mapping[str, float]) -> None:
    """Say at once that no node will ever take a worker, where Ray would wait; a node of its size may be missing for now."""
    import ray

    if wrong := room.lacking(1, resources, *room.capacity(ray.get_runtime_context().gcs_address)):
        raise TrainingError(f"the workers can never start: {wrong}. Change train.gpu or train.cpus_per_worker.")


def _streamed(job: _Job) -> Mapping[str, Any]:
    if not job.config.stream:
        return {}
    from ray_mlops.platform import streams

    return streams.arguments(job.source, "train")


# ---- on the workers --------------------------------------------------------------------------------------------------


def _work(loop: dict[str, Any]) -> _Outcome | None:
    """Fit on this worker's share; rank 0 stores the model and gives the outcome."""
    import ray.train

    job: _Job = loop["job"]
    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    with checkpoints.latest(job.uri) if job.here else ray_worker.resumed() as resume:
        worker = RayWorker(
            rank=rank,
            size=size,
            device=ray_worker.device(),
            threads=job.config.threads
            or ray_worker.threads(job.config.cpus_per_worker, context.get_local_world_size()),
            seed=job.seed,
            network=ray_worker.network(job.algorithm.backend, size),
            resume=resume,
            uri=job.uri,
            checkpoint_seconds=job.config.checkpoint_seconds,
            keep_judged=job.config.checkpoints > 0,
            send=partial(checkpoints.keep, job.uri) if job.here else ray_worker.send,
        )
        data = _data(job, rank, size)
        waited, begun = time.time() - job.started, time.monotonic()
        model = job.algorithm.fit(data, worker)
        fitted = time.monotonic() - begun
    if rank:
        return None
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        files.upload(folder, files.join(job.uri, MODEL))
    features, labels = data.validation.arrays()
    metrics = validation_metrics(labels, np.asarray(model.predict(features)))
    figures, hardware = performance(job, worker, max(0.0, waited), fitted), {**machine(), "device": worker.device}
    return _Outcome(metrics, figures, size, worker.threads, hardware)


def _data(job: _Job, rank: int, size: int) -> Data:
    import ray.train

    if not job.config.stream:
        return Data(job.source.read("train", rank, size), job.source.read("validation"), job.source.names)
    from ray_mlops.platform.streams import StreamedPart

    share = StreamedPart(ray.train.get_dataset_shard("train"), math.ceil(job.rows / size))
    return Data(share, job.source.read("validation"), job.source.names)


def performance(job: _Job, worker: RayWorker, start_s: float, fit_s: float) -> dict[str, float]:
    """What the fit took, of the attempt that came to its end.

    `start_up_s` from the begin of the stage to the fit; `data_wait_s` and `compute_s` and `samples_per_second` (of all
    workers) as the algorithm measured them, else as one pass over the rows; `memory_mb` the most that rank 0 used,
    `device_mb` the same on its GPU; and what a thousand samples cost in worker seconds and, where a price is known,
    in money.
    """
    told = {name: worker.figures[name] for name in _MEASURED if name in worker.figures}
    figures = {"data_wait_s": 0.0, "compute_s": fit_s, "samples_per_second": job.rows / max(fit_s, 1e-9)} | told
    seconds = 1000 * worker.size / max(figures["samples_per_second"], 1e-9)
    figures |= {"start_up_s": start_s, "fit_s": fit_s, "worker_seconds_per_1000": seconds}
    figures["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if job.config.cost_per_hour is not None:
        figures["cost_per_1000"] = seconds / 3600 * job.config.cost_per_hour
    return figures


_MEASURED = ("samples_per_second", "data_wait_s", "compute_s", "device_mb")
