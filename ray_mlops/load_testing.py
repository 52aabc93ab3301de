"""What `ray-mlops loadtest` does: a replica of its own for the test, the ramp, a table, a record, a size."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

from ray_mlops import commands, console
from ray_mlops.contract import Endpoint, Frozen
from ray_mlops.errors import EndpointError
from ray_mlops.platform import files, runtime
from ray_mlops.platform.cores import cores
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.load.process import Load
from ray_mlops.serving.load.ramp import Bounds, Found, ramp
from ray_mlops.serving.load.step import Step
from ray_mlops.serving.load.target import target
from ray_mlops.serving.sizes import Recommendation, Size, recommend
from ray_mlops.stages import deploy as deploy_stage
from ray_mlops.stages.deploy import live_endpoint

COLUMNS = ("due /s", "answered /s", "p50 ms", "p90 ms", "p99 ms", "failed", "")
_SUFFIX = "-loadtest"


class Asking(Frozen):
    """What is asked of a test: the size for `rate` (0: for none), `seconds` a step, requests of a `file`, an API `key`."""

    rate: float = 0.0
    seconds: float = 5.0
    file: str = ""
    key: str = ""
    as_json: bool = False


@dataclass(frozen=True)
class Opened:
    """An endpoint to test: `log` is where what it is asked otherwise has been captured, `sizes` are those approved for it.

    `alone` says that nobody else asks it, and that it is one replica.
    """

    endpoint: Endpoint
    log: str
    sizes: Mapping[str, Size]
    alone: bool


@contextmanager
def twin(root: str, model: str, assignments: Sequence[str], *, verbose: bool = False) -> Iterator[Opened]:
    """One replica of a version under a name of its own, with a store and a log of its own, gone afterwards.

    What it is asked comes into no history, no log and no verdict of the endpoint that others ask.
    """
    run = replace(commands.administration(root), id="loadtest", uri=files.absolute(root))
    version, stage, config = commands.deployable(run, model, assignments)
    name = config.name or version.name
    known = live_endpoint(run.root, name)
    changes: dict[str, Any] = {"name": f"{name[:50]}{_SUFFIX}"}
    if known and not any(one.startswith("port=") for one in assignments):
        changes["port"] = urlsplit(known.url).port  # Serve has one for all
    if hasattr(config, "parity_rows"):
        changes["parity_rows"] = 0
    one = {"size": "", "min_replicas": 1, "max_replicas": 1, "cpus": config.scale.replicas.cpus}
    changes["scale"] = config.scale.model_copy(update=one)
    runtime.connect(verbose=verbose)
    endpoint = stage.run(config.model_copy(update=changes), run, version=version)
    try:
        log = f"{endpoints.local_folder(run.root, name)}/capture"
        yield Opened(endpoint, log, config.scale.sizes, alone=True)
    finally:
        deploy_stage.undeploy(endpoint.name)
        for folder in (endpoints.local_folder(run.root, endpoint.name), files.join(run.root, "endpoints", endpoint.name),
                       endpoints.queue_folder(run.root, endpoint.name)):  # fmt: skip
            files.remove(folder)


@contextmanager
def live(root: str, name: str) -> Iterator[Opened]:
    """The endpoint of a name as it is; what it is asked is in its log, and in the history of its entities."""
    endpoint = live_endpoint(files.absolute(root), name)
    if endpoint is None:
        raise EndpointError(f"no endpoint called {name!r} of the root {root} answers: `ray-mlops deploy {name}` first")
    yield Opened(endpoint, endpoint.capture, {}, alone=False)


def run(root: str, opened: AbstractContextManager[Opened], bounds: Bounds, asking: Asking) -> dict[str, Any]:
    """Test an endpoint, print what was found and keep it as a record, which is returned."""
    with opened as tested:
        asked, source = target(tested.endpoint, file=asking.file, log=tested.log, key=asking.key, renew=tested.alone)
        print(f"{tested.endpoint.url}, version {tested.endpoint.version}: {source}", flush=True)
        with Load(asked, asking.seconds) as load, _Shown(bounds) as shown:
            found = ramp(lambda rate: shown.add(load.measure(rate)), bounds)
    advice = _advice(found, asking.rate, tested)
    record = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: getattr(tested.endpoint, name) for name in ("name", "url", "version", "digest")},
        "requests": source,
        "one_replica": tested.alone,
        "cores": cores(),
        "bounds": bounds.model_dump(),
        **found.model_dump(exclude={"steps"}),
        "client_bound": any(step.client_bound(bounds.p99_ms) for step in found.steps),
        "recommendation": advice.model_dump() if advice else None,
        "steps": [step.model_dump() for step in found.steps],
    }
    moment = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    place = files.join(files.absolute(root), "loadtests", f"{tested.endpoint.name}-{moment}.json")
    files.write_json(place, record)
    _say(found, bounds, advice, tested, asking)
    print(f"record: {place}")
    if asking.as_json:
        print(json.dumps(record))
    return record


class _Shown:
    """A table of the steps: drawn anew on a terminal, else a line a step."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._rows: list[tuple[str, ...]] = []
        self._lines = console.StageLines()

    def __enter__(self) -> Self:
        self._lines.started("loadtest")
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        if sys.stdout.isatty():
            console.print_table(COLUMNS, self._rows)

    def add(self, step: Step) -> Step:
        """Show a step, and hand it on."""
        row = _row(step, self._bounds)
        self._rows.append(row)
        self._lines.show(COLUMNS, self._rows)
        if not sys.stdout.isatty():
            print("  ".join(f"{name} {value}" for name, value in zip(COLUMNS, row, strict=True)).strip(), flush=True)
        return step


def _row(step: Step, bounds: Bounds) -> tuple[str, ...]:
    times = (step.p50_ms, step.p90_ms, step.p99_ms)
    worst = max(step.errors, key=lambda name: step.errors[name], default="")
    if step.holds(bounds.p99_ms, bounds.error_share):
        verdict = "holds"
    else:
        verdict = "piles up" if step.cut_short else f"fails: {worst}" if step.failed else "is late"
    if step.client_bound(bounds.p99_ms):
        verdict += f" (on a busy machine: the client sent {step.client_late_ms:.0f} ms late, at {step.client_cpu:.0%} of a core)"
    told = ["-" if value is None else f"{value:.1f}" for value in times]
    return (f"{step.rate:g}", f"{step.answered_per_s:.1f}", *told, f"{step.failed}", verdict)


def _advice(found: Found, rate: float, tested: Opened) -> Recommendation | None:
    best = found.best
    if not rate or not tested.alone or found.rate is None or best is None:
        return None
    return recommend(rate, found.rate, (best.p50_ms or 0.0) / 1000, tested.sizes)


def _say(found: Found, bounds: Bounds, advice: Recommendation | None, tested: Opened, asking: Asking) -> None:
    who = "one replica" if tested.alone else "the endpoint as it is"
    if found.rate is None:
        print(f"{who} does not answer {found.steps[0].rate:g} requests/s with a p99 of {bounds.p99_ms:g} ms")
        return
    broken = f"; {found.breaks:g} are too many" if found.breaks else ", the highest rate that was tried"
    print(f"{who} answers {found.rate:g} requests/s with a p99 of at most {bounds.p99_ms:g} ms{broken}")
    if asking.rate and not tested.alone:
        print("to find a size, test one replica: without --live")
    if advice:
        print(
            f"{advice.rate:g} requests/s need {advice.replicas} replicas ({advice.per_replica:g}/s each, a fifth stays free)"
        )
        if advice.size:
            print(
                f"size {advice.size}: -s deploy.scale.size={advice.size} -s deploy.scale.target_ongoing={advice.target_ongoing:g}"
            )
        else:
            most = max((size.max_replicas for size in tested.sizes.values()), default=0)
            print(f"no approved size has as many: the largest has {most} (deploy.scale.sizes)")
