"""What the commands of guarded rollouts do: bring a version to an endpoint step by step, take it back, show the records."""

from collections.abc import Sequence

from ray_mlops import commands
from ray_mlops.contract import ModelVersion, Run
from ray_mlops.errors import ConfigError, EndpointError, RayMlopsError
from ray_mlops.overrides import override as apply
from ray_mlops.platform import registry, runtime, store
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving.rollouts import ending, fitting, replicas
from ray_mlops.serving.rollouts import plan as plans
from ray_mlops.serving.rollouts.drive import Driver
from ray_mlops.serving.rollouts.plan import Judging, Plan
from ray_mlops.serving.rollouts.records import Records, Rollout, Side
from ray_mlops.serving.rollouts.replicas import Replicas, Running
from ray_mlops.stages import deploy as deploy_stage
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.stages.images.deploy import ImageDeployConfig

Config = DeployConfig | ImageDeployConfig


def plan(
    canary: float | None, linear: str, shadow: bool, all_at_once: bool, bake: str, metric: str, judging: Sequence[str]
) -> Plan | None:
    """What the options of `deploy` mean; None: all at once."""
    limits = apply(Judging(), judging)
    found = plans.parse(canary, linear, shadow, bake, metric, limits)
    if found and all_at_once:
        raise ConfigError(f"--all-at-once and --{found.mode} exclude each other: choose one")
    if found is None and (metric or judging):
        raise ConfigError("--metric and --judge need a rollout to judge: add --canary, --linear or --shadow")
    return found


def deploy(
    root: str, model: str, assignments: Sequence[str], *, plan: Plan, why: str = "", verbose: bool = False
) -> None:
    """Bring a registered version (by default the challenger) to the endpoint of its model, beside the champion and step by step.

    `why` is recorded with it. Raises `EndpointError` when it is rolled back, with the reason that the record has.
    """
    run = commands.administration(root)
    known = registry.open_registry(run)
    version = commands.named(known, model, default="challenger").artifact()
    name = _name(version, assignments)
    running = replicas.known(run.root, name)
    config = apply(_config(running), assignments)
    if running.version.digest == version.digest:
        raise EndpointError(f"endpoint {name!r} serves version {version.version} already")
    fitting.check(_bundle(running.version), _bundle(version))
    _connect(name, verbose=verbose)
    records = Records(run.root, name)
    ending.tidy(run.root, name, "another rollout began")
    if isinstance(config, DeployConfig):
        deploy_stage.prove(config, run, version)
    begun = Rollout.begin(name, _side(running.version), _side(version), plan, why)
    driver = Driver(begun, version, Replicas(running, run.root), records, print)
    ended = driver.drive()
    if ended.status == "running":
        ended = _promote(driver, run, known, config, version)
    if ended.status != "promoted":
        known.rolled_back(version.name, version.version, f"{_for(ended)}rollout {ended.id}: {ended.reason}")
        raise EndpointError(f"{version.name}/{version.version} was rolled back: {ended.reason}")
    print(f"{version.name}/{version.version} is the champion and answers alone: {ended.reason}")


def rollback(root: str, name: str, reason: str) -> None:
    """End the rollout that is under way, or bring back the version that the last one replaced."""
    run = commands.administration(root)
    running = replicas.known(run.root, name)
    records = Records(run.root, name)
    _connect(name)
    if under_way := records.running():
        told = reason or "rolled back by hand"
        ended, took = ending.back(Replicas(running, run.root), records, under_way, told)
        champion = ended.champion
        print(f"{champion.model}/{champion.version} answers alone again after {took:.2f} s")
        return
    before = _before(records, running)
    known = registry.open_registry(run)
    version = known.version(before.model, before.version).artifact()
    told = reason or f"rolled back from version {running.version.version} by hand"
    _roll_over(run, _config(running), version)
    known.promote(version.name, version.version, told)
    known.rolled_back(running.version.name, running.version.version, told)
    print(f"{version.name}/{version.version} is the champion again: {told}")


def rollouts(root: str, name: str, identity: str) -> None:
    """Print the rollouts of an endpoint, or the events of one."""
    records = Records(commands.administration(root).root, name)
    if identity:
        _print_events(records.read(identity))
        return
    found = records.all()
    if not found:
        print(f"no rollouts of {name} yet: `ray-mlops deploy {name} --canary 10` makes the first")
        return
    for one in found:
        status = one.status if one.status != "running" or one.alive() else "abandoned"
        shares = [f"{100 * share:g}%" for share in one.plan.shares if share]
        versions = (
            f"{one.champion.model}/{one.champion.version} → {one.challenger.version} ({one.challenger.digest[:12]})"
        )
        print(f"{one.id}  {status:<11}  {versions}  {' '.join([one.plan.mode, *shares])}  {one.user}@{one.host}")
        if one.reason:
            print(f"    {one.reason}")


def _promote(driver: Driver, run: Run, known: registry.Registry, config: Config, version: ModelVersion) -> Rollout:
    try:
        _roll_over(run, config, version)
    except RayMlopsError as error:
        return driver.give_up(f"promotion failed: {error}")
    except BaseException as error:
        driver.stopped(error)
        raise
    numbers = [f"{check.name} {check.verdict}" for check in driver.checks]
    reason = f"nothing spoke against it in {len(driver.rollout.plan.shares)} step(s): {', '.join(numbers)}"
    known.promote(version.name, version.version, f"{_for(driver.rollout)}rollout {driver.rollout.id}: {reason}")
    return driver.promoted(reason)


def _for(rollout: Rollout) -> str:
    return f"{rollout.why}: " if rollout.why else ""


def _roll_over(run: Run, config: Config, version: ModelVersion) -> None:
    stage = commands.stage_of(version)
    step = store.Step("deploy", stage.run, config, {"version": version}, valid=deploy_stage.is_live)
    store.once(step, run)


def _before(records: Records, running: Running) -> Side:
    """The version that was replaced by the one that runs."""
    for one in records.all():
        if one.status == "promoted" and one.challenger.digest == running.version.digest:
            return one.champion
    raise EndpointError(
        f"no rollout of {running.name!r} is under way, and none has brought version {running.version.version} that runs: "
        "deploy the version that should run, `ray-mlops deploy NAME/VERSION`"
    )


def _print_events(one: Rollout) -> None:
    print(
        f"{one.id}  {one.champion.model}/{one.champion.version} → {one.challenger.version}  {one.status}: {one.reason}"
    )
    for event in one.events:
        share = f"{100 * event.share:g} %" if event.share else ""
        print(f"{event.time:%H:%M:%S}  {event.what:<12} {share:>6}  {event.reason}".rstrip())
        for check in event.checks:
            numbers = ", ".join(f"{name} {value:g}" for name, value in check.numbers.items())
            needed = f"evidence {check.evidence:g} of {check.needed:g}; " if check.needed else ""
            print(f"          {check.name:<10} {check.verdict:<8} {needed}{numbers} {check.reason}".rstrip())


def _connect(name: str, *, verbose: bool = False) -> None:
    if not runtime.is_up():
        raise EndpointError(f"endpoint {name!r} is not running: no cluster is here, and RAY_ADDRESS is not set")
    runtime.connect(verbose=verbose)


def _name(version: ModelVersion, assignments: Sequence[str]) -> str:
    kind = ImageDeployConfig if commands.of_images(version) else DeployConfig
    return apply(kind(), assignments).name or version.name


def _config(running: Running) -> Config:
    kind = ImageDeployConfig if running.images else DeployConfig
    return kind.model_validate(running.config)


def _bundle(version: ModelVersion) -> Bundle:
    return Bundle.load(version.uri, digest=version.digest)


def _side(version: ModelVersion) -> Side:
    return Side(model=version.name, version=version.version, digest=version.digest)
