"""The record of a run: its resolved config, what happened to each stage, and the page that ties them together."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from ray_mlops.contract import Evaluation, Progress, Run, Show, Trained, no_progress, show_nothing
from ray_mlops.contract.names import RUN
from ray_mlops.errors import ConfigError, StorageError
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.predictor import phrases
from ray_mlops.overrides import nearest
from ray_mlops.pipeline import AnyConfig
from ray_mlops.platform import files, provenance, store, sweeping, tracking

DEFAULT_ROOT = "mlops"
SILENT = timedelta(days=1)  # a run that has not ended and is not heard of for so long was killed


def open_run(
    config: AnyConfig,
    recipe: str,
    root: str,
    *,
    override: str = "",
    progress: Progress = no_progress,
    show: Show = show_nothing,
) -> Run:
    """A new run of a config below `root`; its resolved config is written as YAML that `ray-mlops run` takes again.

    Raises `StorageError` while `ray-mlops gc` works there.
    """
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    run = Run(
        root=files.absolute(root),
        id=f"{config.name}-{moment}-{secrets.token_hex(2)}",
        recipe=recipe,
        seed=config.seed,
        tracking_uri=config.tracking_uri or tracking.configured(),
        override=override,
        progress=progress,
        show=show,
    )
    files.write_text(provenance.config_file(run.root, run.id), dump(config, recipe))
    try:
        sweeping.refuse_during(run.root)
    except StorageError:
        files.remove(folder(run))
        raise
    return run


def dump(config: AnyConfig, recipe: str) -> str:
    """The resolved config as YAML."""
    return yaml.safe_dump({"recipe": recipe, "config": config.model_dump(mode="json")}, sort_keys=False)


def folder(run: Run) -> str:
    """Where the records of the run are."""
    return files.join(run.root, "runs", run.id)


def save(run: Run, records: Sequence[store.Record], status: str, error: str = "") -> str:
    """Write the record of the run so far and its page; returns the page's URI."""
    from ray_mlops.reports.run_page import run_page

    stages = [record.to_json() for record in records]
    value = {"id": run.id, "recipe": run.recipe, "status": status, "error": error, "override": run.override}
    files.write_json(files.join(folder(run), "run.json"), {**value, "stages": stages})
    made_by = _made_by(run, records)
    page = files.join(folder(run), "report.html")
    subtitle = f"{run.recipe}, {status}" + (f", trained against the decision: {run.override}" if run.override else "")
    html = run_page(stages, title=f"Run {run.id}", subtitle=subtitle, error=error, made_by=made_by)
    files.write_text(page, html)
    _save_stages(run, stages, stages[-1:] if status == "running" else stages)
    return page


def _made_by(run: Run, records: Sequence[store.Record]) -> Mapping[str, Any]:
    """What the model was fitted under, then, when it is one of an earlier run; empty before there is one."""
    fitted = next((record.artifact for record in records if record.stage == "train"), None)
    return store.manifest(run.root, "train", fitted.fingerprint).get("conditions", {}) if fitted else {}


def _save_stages(run: Run, stages: Sequence[Mapping[str, Any]], written: Sequence[Mapping[str, Any]]) -> None:
    """Write the pages of those stages that make none of their own."""
    from ray_mlops.reports.page import render
    from ray_mlops.reports.stage_page import stage_page

    made = {stage["stage"]: stage for stage in stages}
    for stage in written:
        if not stage["artifact"].get("report"):
            told = {**stage, "artifact": {**stage["artifact"], **_words(stage["artifact"])}}
            page = stage_page(told, made, subtitle=f"{run.recipe}, run {run.id}")
            files.write_text(files.join(folder(run), f"{stage['stage']}.html"), render(page))


def _words(artifact: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the features are in words, where there is a definition of them."""
    if "definition" not in artifact or not files.exists(artifact["definition"]):
        return {}
    return {"words": phrases(FeatureDefinition.model_validate(files.read_json(artifact["definition"])))}


def track(run: Run, config: AnyConfig, records: Sequence[store.Record]) -> None:
    """Enter the run into MLflow: settings, figures and the fingerprint of every stage. A run that only reused what
    was there left no news, and is not entered."""
    if all(record.status == "reused" for record in records):
        return
    tracker = tracking.MlflowTracker(run)
    tracker.parameters(config.model_dump(mode="json"))
    tracker.tags({record.stage: record.artifact.fingerprint for record in records})
    tracker.metrics({f"seconds.{record.stage}": record.seconds for record in records})
    for record in records:
        if isinstance(record.artifact, Evaluation):
            tracker.metrics(record.artifact.metrics)
        if isinstance(record.artifact, Trained):
            tracker.metrics({f"train.{name}": value for name, value in record.artifact.performance.items()})
    tracker.finish("FINISHED")


def record(root: str, identity: str) -> dict[str, Any]:
    """The record of one run; raises `ConfigError` with the nearest name when there is none."""
    RUN.check(identity)
    path = files.join(files.absolute(root), "runs", identity, "run.json")
    if not files.exists(path):
        raise ConfigError(f"no run is called {identity!r}{nearest(identity, [run['id'] for run in known(root)])}")
    return files.read_json(path)


def under_way(run: Mapping[str, Any], last_sign: datetime, silent: timedelta) -> bool:
    """Whether a run may still be going on: it has not ended, and was heard of not long ago."""
    return run["status"] == "running" and datetime.now(UTC) - last_sign < silent


def delete(root: str, identity: str) -> None:
    """Delete the record of a run; raises `ConfigError` when there is none, or it was heard of within `SILENT`."""
    run = record(root, identity)
    place = files.join(files.absolute(root), "runs", identity)
    last_sign = max(when for _, when in files.by_age(place))
    if under_way(run, last_sign, SILENT):
        raise ConfigError(f"run {identity} is under way, as far as is known; its last sign is of {last_sign:%F %T} UTC")
    files.remove(place)


def known(root: str) -> list[dict[str, Any]]:
    """All runs below a root, newest first."""
    base = files.join(files.absolute(root), "runs")
    found = [files.join(base, name, "run.json") for name in files.listing(base)]
    values = [files.read_json(path) for path in found if files.exists(path)]
    return sorted(values, key=lambda value: value["id"].rsplit("-", 3)[1:], reverse=True)


def of(root: str, name: str) -> list[dict[str, Any]]:
    """The runs of the config of this name, newest first."""
    return [run for run in known(root) if run["id"].rsplit("-", 3)[0] == name]


def read_config(path: str) -> tuple[str, dict[str, Any]]:
    """Recipe and fields of a `config.yaml` written by `open_run`."""
    try:
        value = yaml.safe_load(files.read_text(path))
        return value["recipe"], value["config"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is not a config written by ray-mlops (keys `recipe` and `config`): {error}"
        ) from error
