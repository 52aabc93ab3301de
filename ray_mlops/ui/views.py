"""What the console shows of a run root: pages of blocks, from the same records and functions as the command line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ray_mlops import commands, runs
from ray_mlops.errors import ConfigError
from ray_mlops.platform import files, registry
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.registry import Version
from ray_mlops.reports.card_page import Identity, card_page
from ray_mlops.reports.numerals import seconds, shown
from ray_mlops.reports.page import Block, Facts, Link, Page, Rows, Section, Text
from ray_mlops.reports.run_page import HEADLINES, VERDICTS, summary
from ray_mlops.serving.rollouts.records import Records, Rollout
from ray_mlops.ui import causes, traffic
from ray_mlops.ui.alarms import verdicts

_LATEST = 8


@dataclass(frozen=True)
class Form:
    """A button that changes something; `reason` asks why, which is recorded."""

    action: str
    label: str
    about: str = ""
    reason: bool = True
    grave: bool = False


@dataclass(frozen=True)
class View:
    """A page of the console with its buttons; `refresh_s` loads it again so often, 0 never; `output` is that of a command."""

    page: Page
    forms: Sequence[Form] = ()
    refresh_s: int = 0
    output: str = ""


def overview(root: str) -> View:
    """The latest of everything."""
    known = runs.known(root)
    endpoints = endpoint_names(root)
    told = verdicts(root)
    facts = Facts({"Runs": len(known), "Models": len(_registry(root).names()), "Endpoints": len(endpoints)})
    alarms = [Text(f"{alarm.endpoint}: {text}", "bad") for alarm in told[:_LATEST] for text in alarm.alarms]
    sections = [
        Section("Now", (facts, *(alarms or [Text("No alarm in the latest verdicts.", "good")]))),
        Section("Latest runs", (_runs(known[:_LATEST]),)),
        Section("Endpoints", (Rows(("endpoint", "digest", "version", "address"), [*map(_live, endpoints.values())]),)),
    ]
    return View(Page("Console", root, sections))


def all_runs(root: str) -> View:
    """Every run."""
    return View(Page("Runs", root, (Section("All runs", (_runs(runs.known(root)),)),)))


def _runs(known: Sequence[dict[str, Any]]) -> Block:
    if not known:
        return Text("There are no runs yet: `ray-mlops run fraud` makes the first.")
    rows = []
    for value in known:
        made = {stage["stage"]: stage["artifact"] for stage in value["stages"]}
        spent = sum(stage["seconds"] for stage in value["stages"] if stage["status"] == "done")
        last = value["stages"][-1]["stage"] if value["stages"] else None
        verdict = made.get("decide", {}).get("verdict")
        best = (
            next((made["evaluate"]["metrics"][n] for n in HEADLINES if n in made["evaluate"]["metrics"]), None)
            if ("evaluate" in made)
            else None
        )
        name = Link(value["id"], f"/runs/{value['id']}")
        rows.append((name, value["recipe"], value["status"], last, verdict, best, seconds(spent)))
    return Rows(("run", "recipe", "status", "last stage", "decision", "AP or accuracy", "time"), rows)


def one_run(root: str, identity: str) -> View:
    """A run: its stages, what was decided and why, and the pages of both."""
    found = next((value for value in runs.known(root) if value["id"] == identity), None)
    if found is None:
        raise ConfigError(f"no run is called {identity!r}")
    rows, reasons = [], []
    written = set(files.listing(files.join(root, "runs", identity)))
    for stage in found["stages"]:
        made = stage["artifact"]
        spent = seconds(stage["seconds"]) if stage["status"] == "done" else None
        report = Link("page", _report(made["report"])) if made.get("report") else None
        if report is None and f"{stage['stage']}.html" in written:
            report = Link("page", f"/files/runs/{identity}/{stage['stage']}.html")
        rows.append((stage["stage"], stage["status"], spent, summary(made, stage["stage"]), report))
        if stage["stage"] == "decide":
            words, tone = VERDICTS.get(made["verdict"], (made["verdict"], "warning"))
            reasons = [
                Text(words, tone),
                *map(Text, made["reasons"]),
                *(Text(hint, "warning") for hint in made["hints"]),
            ]
    heads: list[Block] = [Facts({"Status": found["status"], "Recipe": found["recipe"],
                                 "Page": Link("the whole run", f"/files/runs/{identity}/report.html")})]  # fmt: skip
    if found["error"]:
        heads.append(Text(found["error"], "bad"))
    if found["override"]:
        heads.append(Text(f"Trained against the decision: {found['override']}", "warning"))
    sections = [
        Section("Run", heads),
        Section("Stages", (Rows(("stage", "status", "time", "result", "report"), rows),)),
    ]
    if reasons:
        sections.append(Section("Is a model needed?", reasons))
    return View(Page(f"Run {identity}", root, sections), refresh_s=5 if found["status"] == "running" else 0)


def all_models(root: str) -> View:
    """Every version of every model."""
    known = _registry(root)
    sections = []
    for name in known.names():
        rows = [
            (
                Link(version.version, f"/models/{name}/{version.version}"),
                " ".join(version.aliases) or None,
                version.approval,
                next((version.metrics[metric] for metric in HEADLINES if metric in version.metrics), None),
                version.digest[:12],
                Link(version.run, f"/runs/{version.run}") if version.run else None,
            )
            for version in known.versions(name)
        ]
        sections.append(
            Section(name, (Rows(("version", "alias", "approval", "AP or accuracy", "digest", "run"), rows),))
        )
    none = Section("Models", (Text("There are no models yet: `ray-mlops run fraud` registers the first."),))
    return View(Page("Models", root, sections or [none]))


def one_model(root: str, name: str, which: str) -> View:
    """A version: its history, its card, and the buttons that judge it."""
    version = _registry(root).version(name, which)
    changes = [(change.time, change.action, change.user, change.reason or None) for change in reversed(version.changes)]
    history = Section("What was done to it", (Rows(("time", "what", "who", "why"), changes),))
    bundle = Bundle.load(version.uri, digest=version.digest)
    identity = Identity(version.name, version.version, version.digest, version.approval, version.aliases)
    card = card_page(bundle, identity)
    sections = (card.sections[0], history, *card.sections[1:])
    return View(Page(f"{name} {version.version}", card.subtitle, sections), tuple(_judging(version)))


def _judging(version: Version) -> Iterator[Form]:
    place = f"/models/{version.name}/{version.version}"
    if registry.CHAMPION not in version.aliases:
        yield Form(f"{place}/promote", "Approve and promote", "It becomes the champion; the former one stays approved.")
    else:
        yield Form(f"{place}/deploy", "Deploy", "The champion is brought to its endpoint.", reason=False)
    if version.approval != "rejected":
        yield Form(f"{place}/reject", "Reject", "A rejected champion's predecessor takes over.", grave=True)


def all_endpoints(root: str) -> View:
    """Every endpoint that was deployed from the root."""
    found = endpoint_names(root)
    rows = [*map(_live, found.values())]
    blocks = [Rows(("endpoint", "digest", "version", "address"), rows)] if rows else [Text("Nothing was deployed yet.")]
    return View(Page("Endpoints", root, (Section("Endpoints", blocks),)))


def one_endpoint(root: str, name: str, key: str) -> View:
    """An endpoint: whether it answers, its traffic, its rollouts and verdicts."""
    made = endpoint_names(root).get(name)
    if made is None:
        raise ConfigError(f"no endpoint is called {name!r}")
    health, stats = traffic.health(made["url"], key)
    now = traffic.recent(root, name)
    heads: list[Block] = [
        Text(f"It does not answer: {health['problem']}", "bad") if "problem" in health else Text("It answers.", "good"),
        Facts({
            "Version": Link(made["version"], f"/models/{_model_of(root, made)}/{made['version']}"),
            "Digest": made["digest"][:12], f"Requests, {traffic.MINUTES} min": now.requests, "Failures": now.failures,
            "p50, ms": now.p50_ms, "p99, ms": now.p99_ms, "Try it": Link("OpenAPI page", f"{made['url']}/docs"),
        }),
    ]  # fmt: skip
    minutes = Rows(("minute (UTC)", "requests", "failures"), now.by_minute)
    flat = {key: value for key, value in stats.items() if not isinstance(value, dict)}
    rollouts = Records(root, name).all()
    sections = [
        Section("Now", heads),
        Section("Traffic by minute", (minutes if now.by_minute else Text("Nobody has asked."),)),
        *([Section("State", (Facts(flat),))] if flat else []),
        Section("Rollouts", (_rollouts(rollouts) if rollouts else Text("There were no rollouts."),)),
        Section("Drift", (_verdicts([told for told in verdicts(root) if told.endpoint == name]),)),
        *causes.of_one(root, name),
    ]
    about = "Ends the rollout under way, or brings back the version that the last one replaced."
    back = [Form(f"/endpoints/{name}/rollback", "Roll back", about, grave=True)] if rollouts else []
    return View(Page(f"Endpoint {name}", made["url"], sections), back, refresh_s=15)


def _rollouts(found: Sequence[Rollout]) -> Block:
    rows = []
    for one in found:
        status = one.status if one.status != "running" or one.alive() else "abandoned"
        rows.append((one.started, status, f"{one.champion.version} → {one.challenger.version}", one.plan.mode,
                     one.user, one.reason or None))  # fmt: skip
    return Rows(("began", "status", "versions", "mode", "who", "why"), rows)


def drift(root: str) -> View:
    """What monitoring has said of every endpoint."""
    told = Section("Verdicts, latest first", (_verdicts(verdicts(root)),))
    return View(Page("Drift and alarms", root, (*causes.of_all(root, [*endpoint_names(root)]), told)))


def _verdicts(found: Sequence[Any]) -> Block:
    if not found:
        return Text("Monitoring has said nothing yet: `ray-mlops monitor RECIPE` judges what an endpoint has answered.")
    rows = [
        (told.endpoint, told.version, told.until, told.status, told.requests, "; ".join(told.alarms) or None,
         Link("page", _report(told.report)) if told.report else None)
        for told in found
    ]  # fmt: skip
    return Rows(("endpoint", "version", "until", "verdict", "requests", "alarms", "report"), rows)


# ---- where things are ----------------------------------------------------------------------------------------------


def endpoint_names(root: str) -> dict[str, dict[str, Any]]:
    """The record of each endpoint that was deployed from the root."""
    base = files.join(root, "endpoints")
    paths = {name: files.join(base, name, "endpoint.json") for name in files.listing(base)}
    return {name: files.read_json(path) for name, path in sorted(paths.items()) if files.exists(path)}


def _live(made: dict[str, Any]) -> tuple[Any, ...]:
    return Link(made["name"], f"/endpoints/{made['name']}"), made["digest"][:12], shown(made["version"]), made["url"]


def running(root: str, name: str) -> dict[str, Any]:
    """What an endpoint was started with, empty where that is not known."""
    path = files.join(root, "endpoints", name, "running.json")
    return files.read_json(path) if files.exists(path) else {}


def _model_of(root: str, made: dict[str, Any]) -> str:
    """The name of the model that an endpoint serves, which may have another one."""
    known = running(root, made["name"])
    return known["version"]["name"] if known else made["name"]


def _report(uri: str) -> str:
    """Where the console shows a page of the run root."""
    _, found, rest = uri.rpartition("/artifacts/")
    return f"/files/artifacts/{rest}" if found else uri


def _registry(root: str) -> registry.Registry:
    return registry.open_registry(commands.administration(root))
