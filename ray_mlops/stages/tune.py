"""tune: search the hyperparameters of an algorithm with Ray Tune, on the validation part."""

import json
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from ray_mlops.algorithms import describe, with_settings
from ray_mlops.algorithms.worker import LocalWorker, validation_metrics
from ray_mlops.contract import Algorithm, Data, Decision, Features, Frozen, ImageFeatures, Run, Trials
from ray_mlops.errors import TrainingError
from ray_mlops.platform import files
from ray_mlops.platform.halving import Halving
from ray_mlops.platform.parts import ArrayPart
from ray_mlops.platform.permission import require_model
from ray_mlops.platform.user_code import by_value
from ray_mlops.vision.parts import AnySource, ImageSource, source_of

if TYPE_CHECKING:
    from ray_mlops.platform.search import Record

LOG = "trials.jsonl"
_TUNE = "tune"


class TuneConfig(Frozen):
    """How long to search, and how.

    `trials` and `minutes` are budgets; 0 trials keep the algorithm as it is. `search` is Optuna's Parzen estimator or
    random; `metric` `auto` is average precision, or accuracy where there are classes; `scheduler` `asha` stops trials that fall behind after `grace`, `grace * factor` ... of their reports (a
    boosting or network fit reports about ten times). `generation` trials are suggested together: with more, more cores
    are busy at once; it is fixed here, not taken from the cluster, so that the search is the same on every cluster.
    `max_rows` thins the training rows a trial sees, evenly in time.
    """

    trials: int = Field(default=8, ge=0)
    minutes: float = Field(default=30.0, gt=0)
    metric: Literal["auto", "average_precision", "roc_auc", "accuracy"] = "auto"
    search: Literal["optuna", "random"] = "optuna"
    scheduler: Literal["asha", "none"] = "asha"
    grace: int = Field(default=3, ge=1)
    factor: int = Field(default=3, ge=2)
    generation: int = Field(default=4, ge=1)
    max_rows: int = Field(default=1_000_000, ge=1)


def run(
    config: TuneConfig, run: Run, *, features: Features | ImageFeatures, decision: Decision, algorithm: Algorithm
) -> Trials:
    """The best hyperparameters found; the same ones for the same seed, on any cluster and after any interruption.

    Only a budget of minutes that runs out makes the result depend on the speed of the machine. With 0 trials `best` is
    empty and `value` 0. Raises `DecisionError` when the decision is against a model and `TrainingError` when no trial
    came to a value.
    """
    require_model(decision, run)
    if config.trials == 0:
        return Trials(
            uri=run.uri, fingerprint=run.fingerprint, algorithm=algorithm.kind, best={}, value=0.0, trials=0, log=""
        )
    records = _search(config, run, algorithm, source=source_of(features))
    log = files.join(run.uri, LOG)
    files.write_text(log, "".join(json.dumps(_line(record, algorithm)) + "\n" for record in records))
    best = _best(records, config)
    return Trials(
        uri=run.uri,
        fingerprint=run.fingerprint,
        algorithm=algorithm.kind,
        best=_searched(best, algorithm),
        value=best.curve[-1] if best.value is None else best.value,
        trials=len(records),
        log=log,
    )


def _search(config: TuneConfig, run: Run, algorithm: Algorithm, *, source: AnySource) -> "list[Record]":
    from ray_mlops.platform.search import Board, HalvingScheduler, OptunaGenerations, sampler, silence

    silence()
    space = algorithm.space()
    total = config.trials if space else 1
    halving = Halving(config.grace if config.scheduler == "asha" else None, config.factor)
    board = Board(run.uri, halving, total, run.progress)
    suggestions = OptunaGenerations(
        board, space, sampler(config.search, run.seed, config.generation), config.generation, _slots()
    )
    with by_value(algorithm):
        _tune(
            _trainable(config, run, algorithm, source=source, replays=board.journal()),
            run,
            num_samples=total,
            search_alg=suggestions,
            scheduler=HalvingScheduler(board),
            time_budget_s=config.minutes * 60,
            reuse_actors=True,  # a process costs about a second to start
        )
    return board.judged()


def _tune(trainable: Any, run: Run, **settings: Any) -> None:
    from ray import tune

    storage = files.join(run.uri, _TUNE)
    files.remove(storage)  # what a killed attempt left; all that is worth keeping is in the journal
    filesystem, path = files.filesystem(run.uri)
    run_config = tune.RunConfig(
        name=_TUNE,
        storage_path=path,
        storage_filesystem=filesystem,
        failure_config=tune.FailureConfig(max_failures=2),
        verbose=0,
    )
    tune.Tuner(trainable, tune_config=tune.TuneConfig(**settings), run_config=run_config).fit()
    files.remove(storage)


def _slots() -> int:
    """How many trials of one thread may run at once: one per core, which Ray's logical CPUs may exceed on one node."""
    import ray

    nodes = sum(node["Alive"] for node in ray.nodes())
    cpus = int(ray.cluster_resources().get("CPU", 1))
    return max(1, min(cpus, os.cpu_count() or 1) if nodes == 1 else cpus)


def _trainable(
    config: TuneConfig, run: Run, algorithm: Algorithm, *, source: AnySource, replays: dict[str, Any]
) -> Any:
    import ray
    from ray import tune

    # A task reads the rows into the object store, once for all trials and without a copy in this process.
    parts = ray.remote(_parts).options(num_returns=2).remote(source, config.max_rows)
    common = {"parts": parts, "names": source.names, "seed": run.seed, "metric": _metric(config, source)}
    return tune.with_resources(
        tune.with_parameters(_fit, algorithm=algorithm, replays=replays, common=common), {"cpu": 1}
    )


def _metric(config: TuneConfig, source: AnySource) -> str:
    if config.metric != "auto":
        return config.metric
    return "accuracy" if isinstance(source, ImageSource) else "average_precision"


def _parts(source: AnySource, max_rows: int) -> tuple[ArrayPart, ArrayPart]:
    train = source.read("train")
    rows = len(train.labels)
    kept = np.arange(min(rows, max_rows)) * rows // min(rows, max_rows)
    return ArrayPart(train.features[kept], train.labels[kept]), source.read("validation")


@dataclass
class _TrialWorker(LocalWorker):
    """One trial's worker: passes the metric on to Tune, which ends the trial inside `report` when it is to stop."""

    metric: str = ""
    started: float = field(default_factory=time.monotonic)

    def report(self, metrics: Any, checkpoint: str | None = None) -> None:
        if self.metric in metrics:
            super().report(metrics)
            _tell(metrics[self.metric], report=len(self.reports), seconds=time.monotonic() - self.started)


def _fit(trial: dict[str, Any], *, algorithm: Algorithm, replays: dict[str, Any], common: dict[str, Any]) -> None:
    """One trial, in a process that it shares with others: fit and judge, or replay what was noted of it before."""
    import ray

    if earlier := replays.get(trial["settings"]):
        for report, value in enumerate(earlier["curve"], start=1):
            _tell(value, report=report, seconds=earlier["seconds"])
        if earlier["value"] is not None:
            _tell(earlier["value"], final=True, seconds=earlier["seconds"])
        return
    worker = _TrialWorker(seed=common["seed"], threads=1, metric=common["metric"])
    train, validation = ray.get(list(common["parts"]))
    try:
        candidate = with_settings(algorithm, json.loads(trial["settings"]))
        model = candidate.fit(Data(train, validation, common["names"]), worker)
        features, labels = validation.arrays()
        value = validation_metrics(labels, np.asarray(model.predict(features)))[common["metric"]]
    except Exception as error:  # noqa: BLE001 - one setting that cannot be fitted does not end the search
        _tell(0.0, seconds=time.monotonic() - worker.started, error=f"{type(error).__name__}: {error}")
    else:
        _tell(value, final=True, seconds=time.monotonic() - worker.started)


def _tell(value: float, *, seconds: float, report: int = 0, final: bool = False, error: str = "") -> None:
    from ray import tune

    tune.report({"value": value, "report": report, "final": final, "error": error, "seconds": seconds})


def _best(records: "list[Record]", config: TuneConfig) -> "Record":
    """The trial with the highest value, the earlier one of equals; out of time, the one that had come furthest."""
    complete = [record for record in records if record.value is not None]
    if complete:
        return max(complete, key=lambda record: (record.value, -record.number))
    begun = [record for record in records if record.curve and not record.error]
    if begun:
        return max(begun, key=lambda record: (len(record.curve), record.curve[-1], -record.number))
    errors = [record.error for record in records if record.error]
    reason = errors[0] if errors else f"nothing was reported within {config.minutes:g} minutes (--tune.minutes)"
    raise TrainingError(f"none of {len(records)} trials came to a value: {reason}")


def _searched(record: "Record", algorithm: Algorithm) -> dict[str, Any]:
    """The searched hyperparameters of a trial, also where it took the algorithm's own."""
    described = describe(with_settings(algorithm, record.settings))
    return {name: described[name] for name in algorithm.space()}


def _line(record: "Record", algorithm: Algorithm) -> dict[str, Any]:
    return {
        "trial": record.number,
        "status": record.status,
        "value": record.value,
        "settings": _searched(record, algorithm),
        "curve": record.curve,
        "seconds": round(record.seconds, 3),
        "error": record.error,
    }
