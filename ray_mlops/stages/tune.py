"""tune: search the hyperparameters of an algorithm with Ray Tune, on the validation part."""

import json
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from ray_mlops.algorithms import describe, with_settings
from ray_mlops.algorithms.trial import TrialWorker, attempt
from ray_mlops.contract import Algorithm, Data, Decision, Features, Frozen, ImageFeatures, Run, Trials
from ray_mlops.errors import ConfigError, TrainingError
from ray_mlops.platform import files, room, studies
from ray_mlops.platform.cores import cores
from ray_mlops.platform.halving import Halving
from ray_mlops.platform.parts import ArrayPart
from ray_mlops.platform.permission import require_model
from ray_mlops.platform.user_code import by_value
from ray_mlops.reports.page import render
from ray_mlops.reports.tune_page import tune_page
from ray_mlops.vision.parts import AnySource, ImageSource, source_of

if TYPE_CHECKING:
    from ray_mlops.platform.search import Board, Record

LOG = "trials.jsonl"
_TUNE, _POPULATION = "tune", "population"


class TuneConfig(Frozen):
    """How long to search, and how.

    `trials` and `minutes` are budgets; 0 trials keep the algorithm as it is. `search` is Optuna's Parzen estimator or
    random; `metric` `auto` is average precision, or accuracy where there are classes. `scheduler` `asha` stops trials
    that fall behind after `grace`, `grace * factor` ... of their reports (a boosting or network fit reports about ten
    times). `pbt` is population based training: `trials` members, which all fit for `grace` reports a turn, whereupon the
    worst quarter goes on from the best with hyperparameters that are moved a little; the outcome are the last ones of the
    winner. `generation` trials are suggested together: with more, more cores are busy at once; it is fixed here, not
    taken from the cluster, so that the search is the same on every cluster. `warm_start` tries what earlier searches of
    the recipe found first. `max_rows` thins the training rows a trial sees, evenly in time.
    """

    trials: int = Field(default=8, ge=0)
    minutes: float = Field(default=30.0, gt=0)
    metric: Literal["auto", "average_precision", "roc_auc", "accuracy"] = "auto"
    search: Literal["optuna", "random"] = "optuna"
    scheduler: Literal["asha", "pbt", "none"] = "asha"
    grace: int = Field(default=3, ge=1)
    factor: int = Field(default=3, ge=2)
    generation: int = Field(default=4, ge=1)
    warm_start: bool = False
    max_rows: int = Field(default=1_000_000, ge=1)


def run(
    config: TuneConfig, run: Run, *, features: Features | ImageFeatures, decision: Decision, algorithm: Algorithm
) -> Trials:
    """The best hyperparameters found; the same ones for the same seed, on any cluster and after any interruption.

    Only a budget of minutes that runs out makes the result depend on the speed of the machine, and only a warm start on
    what was searched before. With 0 trials `best` is empty and `value` 0. Raises `DecisionError` when the decision is
    against a model, `ConfigError` when a population has nothing to vary, and `TrainingError` when no trial came to a
    value.
    """
    require_model(decision, run)
    if config.trials == 0:
        return Trials(
            uri=run.uri, fingerprint=run.fingerprint, algorithm=algorithm.kind, best={}, value=0.0, trials=0, log=""
        )
    source = source_of(features)
    records = _search(config, run, algorithm, source=source)
    log, report = files.join(run.uri, LOG), files.join(run.uri, "report.html")
    lines = [_line(record, algorithm) for record in records]
    files.write_text(log, "".join(json.dumps(line) + "\n" for line in lines))
    files.write_text(report, render(tune_page(lines, _metric(config, source), subtitle=f"{run.recipe}, run {run.id}")))
    best = _best(records, config)
    value = best.curve[-1] if best.value is None else best.value
    found = _searched(best, algorithm)
    studies.note(run, algorithm.kind, found, value=value)
    return Trials(
        uri=run.uri,
        fingerprint=run.fingerprint,
        algorithm=algorithm.kind,
        best=found,
        value=value,
        trials=len(records),
        log=log,
        report=report,
    )


def _search(config: TuneConfig, run: Run, algorithm: Algorithm, *, source: AnySource) -> "list[Record]":
    from ray_mlops.platform.search import Board, HalvingScheduler, silence

    silence()
    space = algorithm.space()
    together = config.scheduler == "pbt"
    total = config.trials if space else 1
    halving = Halving(config.grace if config.scheduler == "asha" else None, config.factor)
    board = Board(run.uri, halving, 0 if together else total, run.progress, run.show)
    suggested = _population(config, run, algorithm, board) if together else _suggestions(config, run, algorithm, board)
    with by_value(algorithm):
        _tune(
            _trainable(config, run, algorithm, source=source, replays=board.journal()),
            run,
            num_samples=-1 if together else total,
            search_alg=suggested,
            scheduler=HalvingScheduler(board),
            time_budget_s=config.minutes * 60,
            reuse_actors=True,  # a process costs about a second to start
        )
    files.remove(files.join(run.uri, _POPULATION))
    return board.judged()


def _suggestions(config: TuneConfig, run: Run, algorithm: Algorithm, board: "Board") -> Any:
    from ray_mlops.platform.search import OptunaGenerations, sampler

    space, size = algorithm.space(), config.generation
    known = studies.earlier(run, algorithm.kind, space, count=max(1, size - 1)) if config.warm_start else []
    return OptunaGenerations(board, space, sampler(config.search, run.seed, size), size, _slots(), known)


def _population(config: TuneConfig, run: Run, algorithm: Algorithm, board: "Board") -> Any:
    from ray_mlops.platform.population import Population, members
    from ray_mlops.platform.search import sampler

    space = algorithm.space()
    if not any(spread.live for spread in space.values()):
        raise ConfigError(
            f"{algorithm.kind} has no hyperparameter that may change during a fit (live=True in space()), so a population "
            "has nothing to vary: use --tune.scheduler asha"
        )
    own = {name: getattr(algorithm, name) for name in space}
    first = members(space, sampler("random", run.seed, config.trials), config.trials)
    return Population(board, space, own, first, seed=run.seed, slots=_slots())


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
    """How many trials of one thread may run at once: one per core, which Ray's logical CPUs may exceed on one node; also
    on the nodes that an autoscaler may start."""
    import ray

    here, later = room.capacity(ray.get_runtime_context().gcs_address)
    cpus = int(max(sum(kind.most * kind.resources.get("CPU", 0) for kind in kinds) for kinds in (here, later or ())))
    return max(1, min(cpus, cores()) if len(here) == 1 and later == [] else cpus)


def _trainable(
    config: TuneConfig, run: Run, algorithm: Algorithm, *, source: AnySource, replays: dict[str, Any]
) -> Any:
    import ray
    from ray import tune
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # A task reads the rows into the object store, once for all trials and without a copy in this process; on the node of
    # this process: lost with another one, they would have to be read again while trials that wait for them hold every CPU.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    read = ray.remote(_parts).options(num_returns=2, num_cpus=0, scheduling_strategy=here)
    parts = read.remote(source, config.max_rows)
    common = {"parts": parts, "names": source.names, "seed": run.seed, "metric": _metric(config, source)}
    if config.scheduler == "pbt":
        common |= {"turn": config.grace, "checkpoints": files.join(run.uri, _POPULATION)}
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


def _fit(trial: dict[str, Any], *, algorithm: Algorithm, replays: dict[str, Any], common: dict[str, Any]) -> None:
    """One trial, in a process that it shares with others: fit and judge, or replay what was noted of it before."""
    import ray

    if earlier := replays.get(trial["key"]):
        _replay(earlier)
        return
    train, validation = ray.get(list(common["parts"]))
    kept = common.get("checkpoints", "")
    parent = None if trial["parent"] is None else files.join(kept, str(trial["parent"]))
    with files.localised(parent) if parent else nullcontext() as resume:
        worker = TrialWorker(
            seed=common["seed"],
            threads=1,  # as many trials run at once as there are cores
            resume=resume,
            metric=common["metric"],
            tell=_tell,
            turn=common.get("turn", 0),
            before=trial["before"],
            keep=partial(files.upload, uri=files.join(kept, str(trial["number"]))) if kept else None,
        )
        settings = json.loads(trial["settings"])
        attempt(lambda: with_settings(algorithm, settings), Data(train, validation, common["names"]), worker)


def _replay(earlier: dict[str, Any]) -> None:
    for report, value in enumerate(earlier["curve"], start=1):
        _tell(value, report=report, seconds=earlier["seconds"])
    if earlier["value"] is not None:
        _tell(earlier["value"], final=True, over=earlier["over"], seconds=earlier["seconds"])


def _tell(
    value: float, *, seconds: float, report: int = 0, final: bool = False, over: bool = True, error: str = ""
) -> None:
    from ray import tune

    told = {"value": value, "report": report, "final": final, "over": over, "error": error, "seconds": seconds}
    tune.report(told)


def _best(records: "list[Record]", config: TuneConfig) -> "Record":
    """The trial with the highest value, the earlier one of equals; out of time, the one that had come furthest."""
    complete = [record for record in records if record.value is not None and record.over]
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
        "parent": record.parent,
    }
