"""What the commands do, once parsed. The console and the command line call the same functions."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import yaml

from ray_mlops import console, pipeline, recipes, runs
from ray_mlops.contract import Endpoint, Features, ModelVersion, Run, Verdict
from ray_mlops.contract.names import ENDPOINT
from ray_mlops.errors import ConfigError, EndpointError, RegistryError
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.monitoring.causes import CauseReport
from ray_mlops.online.opening import kind_of
from ray_mlops.overrides import nearest
from ray_mlops.overrides import override as apply
from ray_mlops.platform import files, provenance, registry, runtime, store, tracking
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving import gate, records
from ray_mlops.serving.rollouts import ending
from ray_mlops.stage_names import STAGES, StageName
from ray_mlops.stages import deploy as deploy_stage
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.stages.images import deploy as image_deploy
from ray_mlops.stages.images.deploy import ImageDeployConfig
from ray_mlops.vision.predictor import TRANSFORM

SCRATCH = {"sqlite": "sqlite:///entities.db", "memory": "memory://"}  # kinds of stores that need no address


def lifecycle(
    recipe: str,
    root: str,
    assignments: Sequence[str],
    *,
    span: tuple[StageName, StageName],
    override: str = "",
    verbose: bool = False,
) -> list[store.Record]:
    """Run a recipe's stages from `span[0]` to `span[1]`, print a line a stage and leave a record and a page."""
    config, name = recipes.load(recipe, assignments)
    lines = console.StageLines(verbose=verbose)
    run = runs.open_run(config, name, root, override=override, progress=lines.progress, show=lines.show)
    records: list[store.Record] = []

    def finished(record: store.Record) -> None:
        records.append(record)
        lines.finished(record)
        runs.save(run, records, "running")

    try:
        pipeline.execute(
            config, run, first=span[0], last=span[1], started=lines.started, finished=finished, verbose=verbose
        )
        runs.track(run, config, records)
        page = runs.save(run, records, "done")
    except BaseException as error:
        lines.close()
        status = "stopped" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "failed"
        runs.save(run, records, status, str(error))
        raise
    _where(records, page)
    return records


def _where(records: Sequence[store.Record], page: str) -> None:
    print(f"\nreport    {page}")
    for record in records:
        if isinstance(record.artifact, ModelVersion):
            print(f"model     {record.artifact.uri}")
        if isinstance(record.artifact, Endpoint):
            print(f"endpoint  {record.artifact.url}/{record.artifact.route}  (docs: {record.artifact.url}/docs)")
        if isinstance(record.artifact, Verdict) and record.artifact.action:
            cause = files.read_json(files.join(record.artifact.uri, "monitor.json"))["cause"]
            print(*CauseReport.model_validate(cause).lines(), sep="\n")


_HEADLINES = ("average_precision", "accuracy")


def administration(root: str) -> Run:
    """A run that is none: what registry commands need to find the registry."""
    return Run(root=files.absolute(root), id="", recipe="", tracking_uri=tracking.configured())


def models(root: str) -> None:
    """Print every version of every model."""
    known = registry.open_registry(administration(root))
    rows = [
        (
            version.name,
            version.version,
            " ".join(version.aliases),
            version.approval,
            version.digest[:12],
            next((f"{version.metrics[name]:.4f}" for name in _HEADLINES if name in version.metrics), ""),
        )
        for name in known.names()
        for version in known.versions(name)
    ]
    if not rows:
        print("no models yet: `ray-mlops run fraud` registers the first")
        return
    console.print_table(("model", "version", "alias", "approval", "digest", "AP or accuracy"), rows)


def card(root: str, model: str, out: str) -> None:
    """Print the model card of a version as Markdown, or write it as HTML or Markdown."""
    from ray_mlops.reports.card_page import Identity, card_page
    from ray_mlops.reports.markdown import as_markdown
    from ray_mlops.reports.page import render

    if out and not out.endswith((".html", ".md")):
        raise ConfigError(f"--out {out}: a card is written as .html or .md")
    version = named(registry.open_registry(administration(root)), model, default="champion")
    bundle = Bundle.load(version.uri, digest=version.digest)
    identity = Identity(version.name, version.version, version.digest, version.approval, version.aliases)
    page = card_page(bundle, identity)
    text = render(page) if out.endswith(".html") else as_markdown(page)
    if out:
        files.write_text(files.absolute(out), text)
        print(f"card of {version.name}/{version.version}: {out}")
    else:
        print(text, end="")


def promote(root: str, model: str, reason: str) -> None:
    """Make a version the champion."""
    known = registry.open_registry(administration(root))
    version = named(known, model, default="challenger")
    known.promote(version.name, version.version, reason, over=known.champion(version.name))
    print(
        f"{version.name}/{version.version} is the champion. `ray-mlops deploy {version.name}` brings it to the endpoint."
    )


def reject(root: str, model: str, reason: str) -> None:
    """Reject a version."""
    known = registry.open_registry(administration(root))
    version = named(known, model, default="challenger")
    champion = known.reject(version.name, version.version, reason)
    print(f"{version.name}/{version.version} is rejected.")
    print(f"Champion: {champion.name}/{champion.version}." if champion else "No approved version is left.")


def lineage(root: str, model: str) -> None:
    """Print what a version was made from, out of its verified bundle and what lies beside it, and what was done to it since,
    as YAML."""
    version = named(registry.open_registry(administration(root)), model, default="champion")
    bundle = Bundle.load(version.uri, digest=version.digest)
    made: dict[str, Any] = {"model": f"{version.name}/{version.version}", "digest": version.digest, "run": version.run}
    made |= bundle.json("lineage.json") if bundle.has("lineage.json") else {}
    made |= provenance.told(version.uri)
    made["changes"] = [change.model_dump(mode="json") for change in reversed(version.changes)]
    print(yaml.safe_dump(made, sort_keys=False), end="")


def deploy(root: str, model: str, assignments: Sequence[str], *, verbose: bool = False) -> None:
    """Deploy a registered version."""
    run = administration(root)
    version, stage, config = deployable(run, model, assignments)
    runtime.connect(verbose=verbose)
    ending.tidy(run.root, config.name or version.name, "the endpoint was deployed all at once")
    step = store.Step("deploy", stage.run, config, {"version": version}, valid=deploy_stage.is_live)
    record = store.once(step, run)
    print(console.summary(record.artifact))


def deployable(run: Run, model: str, assignments: Sequence[str]) -> tuple[ModelVersion, ModuleType, Any]:
    """A registered version, the stage that deploys it, and how."""
    version = named(registry.open_registry(run), model, default="champion").artifact()
    config = apply(ImageDeployConfig() if of_images(version) else DeployConfig(), assignments)
    return version, stage_of(version), config


def stage_of(version: ModelVersion) -> ModuleType:
    """The module of the deploy stage of a version's family."""
    return image_deploy if of_images(version) else deploy_stage


def undeploy(root: str, name: str) -> None:
    """Take an endpoint down; of one that is down already, with its cluster, the record is closed."""
    ENDPOINT.check(name)
    root = files.absolute(root)
    try:
        if not runtime.is_up():
            raise EndpointError(
                f"no endpoint is called {name!r}: no cluster is running here, and RAY_ADDRESS is not set"
            )
        runtime.connect()
        deploy_stage.undeploy(name)
    except EndpointError:
        if deploy_stage.live_endpoint(root, name) or not records.taken_down(root, name):
            raise
        print(f"endpoint {name} was not running; it is recorded as down now")
        return
    records.taken_down(root, name)
    print(f"endpoint {name} is down")


def delete(root: str, what: str) -> None:
    """Delete a registered version, `NAME/version`, or the record of a run, by its id; `gc` frees what they leave behind.

    Raises `RegistryError` for a version that has an alias or that something answers with, `ConfigError` for a run that
    is under way.
    """
    root = files.absolute(root)
    if not {"/", "@"} & set(what):
        runs.delete(root, what)
        print(f"run {what} is deleted. `ray-mlops gc` frees what it has made and nothing else refers to.")
        return
    known = registry.open_registry(administration(root))
    version = named(known, what, default="")
    if users := sorted({use.by for use in records.uses(root) if use.digest == version.digest}):
        raise RegistryError(
            f"{version.name}/{version.version} is not deleted: {'; '.join(users)}. Deploy another version there, or take the "
            "endpoint down with `ray-mlops undeploy`."
        )
    known.delete(version.name, version.version)
    store.forget(root, "register", {"name": version.name, "version": version.version})
    print(
        f"{version.name}/{version.version} is deleted. `ray-mlops gc` frees its bundle unless something refers to it."
    )


def score(root: str, model: str, file: str, out: str, *, reasons: int = 0, verbose: bool = False) -> None:
    """Score a file with a registered version; `reasons` of each transaction in words are added."""
    from ray_mlops.stages import score as score_stage
    from ray_mlops.stages.images import score as image_score

    run = administration(root)
    version = named(registry.open_registry(run), model, default="champion").artifact()
    pictures = of_images(version)
    if pictures and reasons:
        raise ConfigError("--reasons: answers to images have none; `evaluate` shows what spoke for an error")
    runtime.connect(verbose=verbose)
    if pictures:
        rows = image_score.score_images(version, file, out)
    else:
        rows = score_stage.score_file(version, file, out, reasons=reasons)
    print(f"{rows:,} rows scored with {version.name}/{version.version} into {out}")


def of_images(version: ModelVersion) -> bool:
    """Which family a model is of shows in what its bundle holds."""
    return files.exists(files.join(version.uri, TRANSFORM))


def parity(recipe: str, root: str, assignments: Sequence[str], *, rows: int, store: str, verbose: bool = False) -> None:
    """Compare the features of the last `rows` rows (0: all) online and in batch; `SkewError` names what differs."""
    url = SCRATCH.get(store, store)
    kind_of(url)
    records = lifecycle(recipe, root, assignments, span=("ingest", "features"), verbose=verbose)
    made = next(record.artifact for record in records if isinstance(record.artifact, Features))
    definition = FeatureDefinition.model_validate(files.read_json(made.definition))
    lines = console.StageLines(verbose=verbose)
    lines.started("parity")
    try:
        report = gate.compare(definition, made.history, rows or None, store=url, progress=lines.progress)
    finally:
        lines.close()
    print(report)


def stage_named(name: str) -> StageName:
    """The stage of this name; raises `ConfigError` with the nearest one when there is none."""
    for stage in STAGES:
        if stage == name:
            return stage
    raise ConfigError(f"no stage is called {name!r}{nearest(name, STAGES)}")


def named(known: registry.Registry, model: str, *, default: str) -> registry.Version:
    """`NAME`, `NAME@alias` or `NAME/version` as a version."""
    for separator in "@/":
        name, found, which = model.partition(separator)
        if found:
            return known.version(name, which)
    return known.version(model, default)
