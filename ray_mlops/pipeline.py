"""The lifecycle: the config of a run and its stages, in order, as a list you read top to bottom."""

import inspect
import warnings
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer

from ray_mlops import algorithms
from ray_mlops.contract import Algorithm, Frozen, ModelVersion, Run
from ray_mlops.contract.names import RecipeName
from ray_mlops.errors import ConfigError
from ray_mlops.fraud.features import FeaturesConfig
from ray_mlops.platform import registry, runtime, store, tracking
from ray_mlops.platform.source_code import digest
from ray_mlops.platform.store import Step
from ray_mlops.stage_names import STAGES, StageName
from ray_mlops.stages import (
    analyse,
    clean,
    decide,
    deploy,
    evaluate,
    features,
    images,
    ingest,
    monitor,
    register,
    train,
    tune,
)
from ray_mlops.stages.analyse import AnalyseConfig
from ray_mlops.stages.clean import CleanConfig
from ray_mlops.stages.decide import DecideConfig
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.stages.evaluate import EvaluateConfig
from ray_mlops.stages.images.analyse import AnalyseConfig as ImageAnalyseConfig
from ray_mlops.stages.images.clean import CleanConfig as ImageCleanConfig
from ray_mlops.stages.images.decide import DecideConfig as ImageDecideConfig
from ray_mlops.stages.images.deploy import ImageDeployConfig
from ray_mlops.stages.images.evaluate import ImageEvaluateConfig
from ray_mlops.stages.images.ingest import IngestConfig as ImageIngestConfig
from ray_mlops.stages.ingest import IngestConfig
from ray_mlops.stages.monitor import MonitorConfig
from ray_mlops.stages.register import RegisterConfig
from ray_mlops.stages.train import TrainConfig
from ray_mlops.stages.tune import TuneConfig
from ray_mlops.vision.features import ImageFeaturesConfig
from ray_mlops.watch_config import WatchConfig


def _algorithm(value: Any) -> Any:
    if isinstance(value, Mapping):
        return algorithms.restore(value)
    if not isinstance(value, Algorithm) or inspect.isclass(value):
        raise ConfigError(f"{value!r} is not an algorithm: it needs kind, backend, space(), fit() and load()")
    return value


AlgorithmField = Annotated[Any, BeforeValidator(_algorithm), PlainSerializer(algorithms.describe)]


# A stage is called as it is called everywhere; that classes have a method of this name disturbs nobody.
warnings.filterwarnings("ignore", message='Field name "register" in "[A-Za-z]*Config" shadows')


class Config(Frozen):
    """Everything a run on transactions depends on. A recipe is a function that returns one."""

    name: RecipeName
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
    watch: WatchConfig = WatchConfig()


class ImageConfig(Frozen):
    """Everything a run on images depends on; the same stages."""

    name: RecipeName
    seed: int = 42
    tracking_uri: str = ""
    algorithm: AlgorithmField
    ingest: ImageIngestConfig
    clean: ImageCleanConfig = ImageCleanConfig()
    analyse: ImageAnalyseConfig = ImageAnalyseConfig()
    decide: ImageDecideConfig = ImageDecideConfig()
    features: ImageFeaturesConfig = ImageFeaturesConfig()
    tune: TuneConfig = TuneConfig()
    train: TrainConfig = TrainConfig()
    evaluate: ImageEvaluateConfig = ImageEvaluateConfig()
    register: RegisterConfig
    deploy: ImageDeployConfig = ImageDeployConfig()
    monitor: MonitorConfig = MonitorConfig()
    watch: WatchConfig = WatchConfig()


AnyConfig = Config | ImageConfig


class Family(NamedTuple):
    """The stages in which the families differ, as modules."""

    ingest: Any
    clean: Any
    analyse: Any
    decide: Any
    features: Any
    evaluate: Any
    register: Any
    deploy: Any


TRANSACTIONS = Family(ingest, clean, analyse, decide, features, evaluate, register, deploy)
IMAGES = Family(
    images.ingest,
    images.clean,
    images.analyse,
    images.decide,
    images.features,
    images.evaluate,
    images.register,
    images.deploy,
)


def sources(config: AnyConfig) -> Mapping[str, str]:
    """Name and content digest of everything that the run would read; raises `DataError` when something is not there."""
    return _family(config).ingest.identity(config.ingest)


def _family(config: AnyConfig) -> Family:
    return IMAGES if isinstance(config, ImageConfig) else TRANSACTIONS


def lifecycle(config: AnyConfig, run: Run, *, sources: str | None = None) -> Generator[Step, Any, None]:
    """The stages in order: yields each step, receives its artifact. `sources` is the digest of what is read, where it is
    known."""
    family = _family(config)
    algorithm, definition = config.algorithm, config.features
    sources = digest(family.ingest.identity(config.ingest)) if sources is None else sources
    table = yield Step("ingest", family.ingest.run, config.ingest, identity=sources)
    cleaned = yield Step("clean", family.clean.run, config.clean, {"table": table})
    profile = yield Step("analyse", family.analyse.run, config.analyse, {"table": cleaned})
    decision = yield Step(
        "decide", family.decide.run, config.decide, {"table": cleaned, "profile": profile, "features": definition}
    )
    made = yield Step("features", family.features.run, config.features, {"table": cleaned})
    study = {"features": made, "decision": decision, "algorithm": algorithm}
    trials = yield Step("tune", tune.run, config.tune, study, identity=run.override)
    trained = yield Step("train", train.run, config.train, {**study, "trials": trials}, identity=run.override)
    evaluation = yield Step(
        "evaluate",
        family.evaluate.run,
        config.evaluate,
        {**study, "trained": trained},
        # The comparison is with the champion of that moment; an unchanged run must not be judged against itself.
        context=lambda: {"champion": _champion(config, run)},
    )
    version = yield Step(
        "register", family.register.run, config.register, {**study, "trained": trained, "evaluation": evaluation}
    )
    served = _served(config, run, version)
    endpoint = yield Step("deploy", family.deploy.run, config.deploy, {"version": served}, valid=deploy.is_live)
    yield Step(
        "monitor",
        monitor.run,
        config.monitor,
        {"endpoint": endpoint, "version": served},
        identity=monitor.identity(endpoint),
    )


def _served(config: AnyConfig, run: Run, version: ModelVersion) -> ModelVersion:
    """The champion. While the endpoint answers with the version just registered, the registry need not be asked."""
    live = deploy.live_endpoint(run.root, config.deploy.name or version.name)
    registered = version.model_copy(update={"fingerprint": version.digest})  # as the registry would give it
    return registered if live and live.digest == version.digest else _champion(config, run) or registered


def _champion(config: AnyConfig, run: Run) -> ModelVersion | None:
    found = registry.open_registry(run).champion(config.register.name)
    return found.artifact() if found else None


def execute(
    config: AnyConfig,
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
        record = perform(step, run, again=0 < position <= STAGES.index(step.name), verbose=verbose)
        records.append(record)
        finished(record)
        if step.name == last:
            return records
        step = stages.send(record.artifact)


def perform(step: Step, run: Run, *, again: bool, verbose: bool) -> store.Record:
    """Run one stage unless it is there, or `again`; Ray is connected to when it really has to run."""
    try:
        return store.once(step, run, again=again, before=partial(_ready, run, verbose=verbose))
    except Exception as error:
        # Ray wraps what a task raised; the user wants our message, not the worker's traceback.
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception) and cause is not error:
            raise cause from error
        raise


def _ready(run: Run, *, verbose: bool) -> None:
    """Connect to Ray, and meanwhile open MLflow, where the run and its model will be entered."""
    tracking.open_early(tracking.tracking_uri(run))
    runtime.connect(verbose=verbose)
