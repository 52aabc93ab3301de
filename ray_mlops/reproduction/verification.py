"""Run the stages of a recorded run again, beside it, and say of each whether the same comes out.

Each stage is given the recorded settings and inputs. What was made again takes the place of the record for the stages after
it as long as it is the same, so that a chain that is equal from the sources on was really made from the sources; after a
difference the record is read, so that a difference is told where it arises and not all the way down.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from ray_mlops import pipeline, recipes, runs
from ray_mlops.contract import Artifact, CleanTable, ModelVersion, Run, Trained
from ray_mlops.errors import ConfigError, DataError, RayMlopsError
from ray_mlops.pipeline import AnyConfig
from ray_mlops.platform import catalog, files, provenance, store
from ray_mlops.platform.source_code import digest
from ray_mlops.platform.store import Step
from ray_mlops.reproduction.comparison import Comparison, Verdict, compare
from ray_mlops.reproduction.conditions import changed
from ray_mlops.stage_names import STAGES, StageName

FOLDER = "verify"
# An endpoint and a verdict on its requests are events; the version that an endpoint pins is content, and is verified.
VERIFIED: tuple[StageName, ...] = STAGES[: STAGES.index("deploy")]


@dataclass(frozen=True)
class Finding:
    """What came of one stage: `comparison` says how equal it is, `inputs` which inputs are not what they were."""

    stage: StageName
    comparison: Comparison
    inputs: tuple[str, ...] = ()


@dataclass
class _Verification:
    """The run recorded below `root`; what has been made again of it so far, by the fingerprint of what was recorded."""

    config: AnyConfig
    root: str
    run: Run
    recorded: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, str] | str  # or why they cannot be read
    remade: dict[str, Artifact] = field(default_factory=dict)

    def artifact(self, step: Step) -> Artifact:
        """What the stage made when the run was recorded."""
        return get_type_hints(step.stage)["return"].model_validate(self.recorded[step.name]["artifact"])

    def again(self, step: Step, *, verbose: bool) -> Finding:
        """Run a stage again and compare."""
        then = self.artifact(step)
        inputs: tuple[str, ...] = ()
        try:
            manifest = files.read_json(files.join(store.folder(self.root, step.name, then.fingerprint), store.MANIFEST))
            inputs = changed(manifest, self._now(step))
            if step.name == "ingest" and isinstance(self.sources, str):
                raise DataError(self.sources)
            record = pipeline.perform(self._as_then(step, then, manifest), self.run, again=True, verbose=verbose)
            comparison = compare(then, record.artifact, step.upstream, self.run.seed)
        except RayMlopsError as error:
            return Finding(step.name, Comparison("not made", (str(error),)), inputs)
        if comparison.verdict == "bitwise equal":
            self.remade[then.fingerprint] = record.artifact
        return Finding(step.name, comparison, inputs)

    def _now(self, step: Step) -> dict[str, Any]:
        sources = self.sources if step.name == "ingest" and not isinstance(self.sources, str) else None
        return {
            "inputs": store.inputs(step, self.run),
            "conditions": store.conditions(step, self.run),
            "sources": sources,
        }

    def _as_then(self, step: Step, then: Artifact, manifest: Mapping[str, Any]) -> Step:
        """The stage as it was called, on what was made again instead of what is recorded where that is the same."""
        upstream = {name: self._newest(value) for name, value in step.upstream.items()}
        known = manifest.get("context", {})
        context = {name: value and ModelVersion.model_validate(value) for name, value in known.items()}
        return replace(step, config=_found_then(step.config, then), upstream=upstream, context=lambda: context)

    def _newest(self, value: Any) -> Any:
        return self.remade.get(value.fingerprint, value) if isinstance(value, Artifact) else value


def verify(
    root: str,
    identity: str,
    stages: Sequence[StageName] = (),
    *,
    keep: bool = False,
    verbose: bool = False,
    finished: Callable[[Finding], None] = lambda finding: None,
) -> list[Finding]:
    """Run stages of the run `identity` again (default: all that are verified) in a scratch folder below its root, which goes
    away afterwards unless it is to be kept; the findings in order.

    Raises `ConfigError` when there is no such run, or it has none of the stages.
    """
    root = files.absolute(root)
    told = runs.record(root, identity)
    recorded = {entry["stage"]: entry for entry in told["stages"]}
    wanted = _wanted(recorded, stages, identity)
    config, _ = recipes.load(provenance.config_file(root, identity))
    with scratch(root, identity, keep=keep) as (place, tracking):
        run = Run(place, identity, told["recipe"], config.seed, tracking_uri=tracking, override=told["override"])
        verification = _Verification(config, root, run, recorded, _sources(config))
        findings = []
        for step in _steps(verification, wanted):
            findings.append(verification.again(step, verbose=verbose))
            finished(findings[-1])
    return findings


def verdict(findings: Sequence[Finding]) -> Verdict:
    """The worst of them."""
    order: list[Verdict] = ["not made", "different", "statistically equal", "bitwise equal"]
    found = {finding.comparison.verdict for finding in findings}
    return next(one for one in order if one in found)


def first_difference(findings: Sequence[Finding]) -> Finding | None:
    """The first stage that is not bitwise equal, if there is one."""
    return next((finding for finding in findings if finding.comparison.verdict != "bitwise equal"), None)


def _wanted(recorded: Mapping[str, Any], stages: Sequence[StageName], identity: str) -> tuple[StageName, ...]:
    if unfit := [stage for stage in stages if stage not in VERIFIED]:
        raise ConfigError(f"{unfit[0]} is not verified: it is an event, no content. There are: {', '.join(VERIFIED)}")
    wanted: tuple[StageName, ...] = tuple(
        stage for stage in VERIFIED if stage in recorded and (not stages or stage in stages)
    )
    if missing := set(stages) - set(wanted):
        raise ConfigError(f"run {identity} did not come to {min(missing)}; it has {', '.join(recorded) or 'no stage'}")
    if not wanted:
        raise ConfigError(f"run {identity} has no stage that can be verified")
    return wanted


def _steps(verification: _Verification, wanted: Sequence[StageName]) -> Iterator[Step]:
    """The wanted stages, each on the recorded artifacts of those before."""
    known = verification.sources
    sources = "" if isinstance(known, str) else digest(known)
    stages = pipeline.lifecycle(verification.config, verification.run, sources=sources)
    step = next(stages)
    while True:
        if step.name in wanted:
            yield step
        if step.name == wanted[-1]:
            return
        step = stages.send(verification.artifact(step))


def _found_then(config: Any, then: Artifact) -> Any:
    """The config of a stage with what it left to the moment: the clock, the room that there was for workers."""
    if isinstance(then, CleanTable) and config.latest is None:
        return config.model_copy(update={"latest": then.latest})
    if isinstance(then, Trained):
        threads = then.threads or config.threads
        return config.model_copy(update={"workers": then.workers, "threads": threads})
    return config


def _sources(config: AnyConfig) -> Mapping[str, str] | str:
    try:
        return pipeline.sources(config)
    except DataError as error:
        return str(error)


@contextmanager
def scratch(root: str, identity: str, *, keep: bool = False) -> Iterator[tuple[str, str]]:
    """A run root of its own below the run's, which every node can reach, and an MLflow of its own on this machine.

    A catalog that several roots share is left out: the tables of the scratch would be snapshots of the run's own.
    """
    place = files.join(root, FOLDER, f"{identity}-{secrets.token_hex(2)}")
    local = tempfile.mkdtemp(prefix="ray-mlops-verify-")
    shared = os.environ.pop("RAY_MLOPS_CATALOG", None)
    try:
        yield place, f"sqlite:///{local}/mlflow.db"
    finally:
        if shared is not None:
            os.environ["RAY_MLOPS_CATALOG"] = shared
        shutil.rmtree(local, ignore_errors=True)
        if not keep:
            files.remove(place)
            with suppress(OSError):
                Path(catalog.file_of(place)).unlink(missing_ok=True)
