"""The lifecycle: the config of a run and its stages, in order, as a list you read top to bottom."""

import inspect
import warnings
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from ray_mlops import algorithms
from ray_mlops.contract import Algorithm, Frozen, ModelVersion, Run
from ray_mlops.errors import ConfigError
from ray_mlops.fraud.features import FeaturesConfig
from ray_mlops.platform import registry, runtime, store
from ray_mlops.platform.store import Step
from ray_mlops.stage_names import STAGES, StageName
from ray_mlops.stages import analyse, clean, decide, deploy, evaluate, features, ingest, monitor, register, train, tune
from ray_mlops.stages.analyse import AnalyseConfig
from ray_mlops.stages.clean import CleanConfig
from ray_mlops.stages.decide import DecideConfig
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.stages.evaluate import EvaluateConfig
from ray_mlops.stages.ingest import IngestConfig
from ray_mlops.stages.monitor import MonitorConfig
from ray_mlops.stages.register import RegisterConfig
from ray_mlops.stages.train import TrainConfig
from ray_mlops.stages.tune import TuneConfig


def _algorithm(value: Any) -> Any:
    if isinstance(value, Mapping):
        return algorithms.restore(value)
    if not isinstance(value, Algorithm) or inspect.isclass(value):
        raise ConfigError(f"{value!r} is not an algorithm: it needs kind, backend, space(), fit() and load()")
    return value


AlgorithmField = Annotated[Any, BeforeValidator(_algorithm), PlainSerializer(algorithms.describe)]


# A stage is called as it is called everywhere; that classes have a method of this name disturbs nobody.
warnings.filterwarnings("ignore", message='Field name "register" in "Config" shadows')


class Config(Frozen):
    """Everything a run depends on. A recipe is a function that returns one."""

    name: str
    seed: int = 42
    tracking_uri: str = ""
    algorithm: AlgorithmField
    ingest: IngestConfig
    clean: CleanConfig = CleanConfig()
    analyse: AnalyseConfig = AnalyseConfig()
    decide: DecideConfig = DecideConfig()
    features: FeaturesConfig
    tune: TuneConfig = TuneConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    register: RegisterConfig
    deploy: DeployConfig = DeployConfig()
    monitor: MonitorConfig = MonitorConfig()


def lifecycle(config: Config, run: Run) -> Generator[Step, Any, None]:
    """The stages in order: yields each step, receives its artifact."""
    algorithm, definition = config.algorithm, config.features
    table = yield Step("ingest", ingest.run, config.ingest, identity=store.digest(ingest.identity(config.ingest)))
    cleaned = yield Step("clean", clean.run, config.clean, {"table": table})
    profile = yield Step("analyse", analyse.run, config.analyse, {"table": cleaned})
    decision = yield Step(
        "decide", decide.run, config.decide, {"table": cleaned, "profile": profile, "features": definition}
    )
    made = yield Step("features", features.run, config.features, {"table": cleaned})
    study = {"features": made, "decision": decision, "algorithm": algorithm}
    trials = yield Step("tune", tune.run, config.tune, study, identity=run.override)
    trained = yield Step("train", train.run, config.train, {**study, "trials": trials}, identity=run.override)
    evaluation = yield Step(
        "evaluate",
        evaluate.run,
        config.evaluate,
        {**study, "trained": trained},
        # The comparison is with the champion of that moment; an unchanged run must not be judged against itself.
        context=lambda: {"champion": _champion(config, run)},
    )
    version = yield Step(
        "register", register.run, config.register, {**study, "trained": trained, "evaluation": evaluation}
    )
    served = _served(config, run, version)
    endpoint = yield Step("deploy", deploy.run, config.deploy, {"version": served}, valid=deploy.is_live)
    yield Step(
        "monitor",
        monitor.run,
        config.monitor,
        {"endpoint": endpoint, "version": served},
        identity=monitor.identity(endpoint),
    )


def _served(config: Config, run: Run, version: ModelVersion) -> ModelVersion:
    """The champion. While the endpoint answers with the version just registered, the registry need not be asked."""
    live = deploy.live_endpoint(run.root, config.deploy.name or version.name)
    registered = version.model_copy(update={"fingerprint": version.digest})  # as the registry would give it
    return registered if live and live.digest == version.digest else _champion(config, run) or registered


def _champion(config: Config, run: Run) -> ModelVersion | None:
    found = registry.open_registry(run).champion(config.register.name)
    return found.artifact() if found else None


def execute(
    config: Config,
    run: Run,
    *,
    first: StageName = "ingest",
    last: StageName = "monitor",
    started: Callable[[StageName], None] = lambda stage: None,
    finished: Callable[[store.Record], None] = lambda record: None,
    verbose: bool = False,
) -> list[store.Record]:
    """Run the lifecycle up to stage `last`; stages before `first` are reused where they exist, the others run again
    when `first` is not the beginning. Ray is connected to when the first stage really has to run."""
    position = STAGES.index(first)
    records: list[store.Record] = []
    stages = lifecycle(config, run)
    step = next(stages)
    while True:
        started(step.name)
        record = _perform(step, run, again=0 < position <= STAGES.index(step.name), verbose=verbose)
        records.append(record)
        finished(record)
        if step.name == last:
            return records
        step = stages.send(record.artifact)


def _perform(step: Step, run: Run, *, again: bool, verbose: bool) -> store.Record:
    try:
        return store.once(step, run, again=again, before=partial(runtime.connect, verbose=verbose))
    except Exception as error:
        # Ray wraps what a task raised; the user wants our message, not the worker's traceback.
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception) and cause is not error:
            raise cause from error
        raise
