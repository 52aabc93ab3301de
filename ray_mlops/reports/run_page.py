"""The page of a whole run: what each stage made, how long it took, what was decided, how good the model is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from ray_mlops.reports import charts
from ray_mlops.reports.lineage import NOTHING, picture
from ray_mlops.reports.numerals import percent, seconds, shown, with_ends
from ray_mlops.reports.page import Block, Chart, Drawing, Facts, Link, Page, Rows, Section, Text, render

Record = Mapping[str, Any]
Artifact = Mapping[str, Any]
Tone = Literal["good", "warning", "bad"]

VERDICTS: Mapping[str, tuple[str, Tone]] = {
    "use_ml": ("A model is worth having.", "good"),
    "no_ml": ("No model is needed.", "warning"),
    "collect_more": ("There is too little data to decide.", "warning"),
    "redefine": ("The question cannot be answered as it is put.", "bad"),
    "ok": ("The traffic looks like the training data.", "good"),
    "alarm": ("Monitoring raises an alarm: see its page.", "bad"),
    "insufficient_data": ("Too few requests to judge the traffic.", "warning"),
}


def run_page(
    records: Sequence[Record],
    *,
    title: str = "Run",
    subtitle: str = "",
    error: str = "",
    made_by: Mapping[str, Any] = NOTHING,
) -> str:
    """One HTML page from the records of the stages, in order.

    A record holds `stage`, `status` (`done` | `reused`), `seconds`, `rows` and `artifact` (the artifact as JSON). Links
    go to the stages' own pages, relative to a page in `<root>/runs/<id>/`. `made_by` is what the model was fitted under:
    `git` and `modules`.
    """
    made = {record["stage"]: record["artifact"] for record in records}
    sections = [Section("Outcome", [*_failure(error), *_outcome(made), _facts(records, made)])]
    sections.append(Section("Stages", _stages(records, made_by)))
    sections += [Section(name, blocks) for name, build in PARTS if (blocks := [*build(made)])]
    return render(Page(title, subtitle, tuple(sections)))


def _failure(error: str) -> Iterable[Block]:
    if error:
        yield Text(error, "bad")


def _outcome(made: Mapping[str, Artifact]) -> Iterable[Block]:
    for stage, field in (("decide", "verdict"), ("monitor", "status")):
        if stage in made:
            words, tone = VERDICTS.get(made[stage][field], (made[stage][field], "warning"))
            yield Text(f"{stage}: {words}", tone)
    for leak in made.get("analyse", {}).get("leaks", ()):
        yield Text(f"analyse: {leak} alone gives the label away", "bad")
    for warning in made.get("analyse", {}).get("warnings", ()):
        yield Text(f"analyse: {warning}", "bad")


def _facts(records: Sequence[Record], made: Mapping[str, Artifact]) -> Block:
    facts: dict[str, Any] = {
        "Time": seconds(sum(record["seconds"] for record in records if record["status"] == "done"))
    }
    if profile := made.get("analyse"):
        facts |= _counted(profile)
    if metrics := made.get("evaluate", {}).get("metrics"):
        facts |= {words: metrics[name] for name, words in HEADLINES.items() if name in metrics}
    if version := made.get("register"):
        facts["Model"] = f"{version['name']} {version['version']}"
    if endpoint := made.get("deploy"):
        facts["Endpoint"] = Link(endpoint["name"], endpoint["url"])
    return Facts(facts)


HEADLINES = {
    "average_precision": "Average precision",
    "roc_auc": "ROC AUC",
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
}


def _counted(profile: Artifact) -> Mapping[str, Any]:
    """How much there is to learn from, in either family."""
    if "classes" in profile:
        return {"Images": profile["rows"], "Classes": len(profile["classes"])}
    return {"Events": profile["rows"], "Prevalence": percent(profile["positives"] / max(profile["rows"], 1), 3)}


# ---- stages --------------------------------------------------------------------------------------------------------


def _stages(records: Sequence[Record], made_by: Mapping[str, Any]) -> list[Block]:
    rows = []
    for record in records:
        time = seconds(record["seconds"]) if record["status"] == "done" else None
        told, page = summary(record["artifact"], record["stage"]), Link("page", page_of(record))
        rows.append((record["stage"], record["status"], time, _rows(record["rows"]), told, page))
    bars = [
        {"stage": record["stage"], "seconds": record["seconds"]} for record in records if record["status"] == "done"
    ]
    links = {record["stage"]: page_of(record) for record in records}
    drawn = picture(records, links, made_by)
    blocks: list[Block] = [Drawing(drawn, "What was made from what")] if drawn else []
    blocks.append(Rows(("stage", "status", "time", "rows", "result", "report"), rows))
    return (
        [*blocks, Chart(charts.ranked(bars, name="stage", value="seconds"), "Where the time went")] if bars else blocks
    )


def _rows(rows: int | Mapping[str, int] | None) -> int | None:
    """The number of rows, or of rows of all parts of a split."""
    return sum(rows.values()) if isinstance(rows, Mapping) else rows


def page_of(record: Record) -> str:
    """The page of a stage as seen from that of its run: its own, or the one that the run has written for it."""
    report = record["artifact"].get("report")
    return relative(report) if report else f"{record['stage']}.html"


def relative(uri: str) -> str:
    """A stage's file as seen from `<root>/runs/<id>/`; unchanged where it is not in the run root."""
    _, found, rest = uri.rpartition("/artifacts/")
    return f"../../artifacts/{rest}" if found else uri


def summary(artifact: Artifact, stage: str) -> str:
    """What a stage made, in a few words."""
    summarise = SUMMARIES.get(stage)
    return summarise(artifact) if summarise else ""


SUMMARIES: Mapping[str, Callable[[Artifact], str]] = {
    "ingest": lambda made: f"{made['name']}, snapshot {made['snapshot'][:12]}",
    "clean": lambda made: f"{made['quarantined']:,} of {made['rows_in']:,} rows quarantined",
    "analyse": lambda made: (
        f"{len(made['classes'])} classes" if "classes" in made else f"{made['positives']:,} positives"
    ),
    "decide": lambda made: made["verdict"],
    "features": lambda made: (
        " x ".join(map(str, made["shape"])) if "shape" in made else f"{len(made['names'])} features"
    ),
    "tune": lambda made: f"{made['trials']} trials, best {shown(made['value'])}",
    "train": lambda made: f"{made['algorithm'].get('kind', '')}, {made['workers']} worker{'s' * (made['workers'] > 1)}",
    "evaluate": lambda made: next(
        (f"{words} {shown(made['metrics'][name])}" for name, words in HEADLINES.items() if name in made["metrics"]), ""
    ),
    "register": lambda made: f"{made['name']} {made['version']} ({', '.join(made['aliases']) or 'no alias'})",
    "deploy": lambda made: made["url"],
    "monitor": lambda made: f"{made['status']}, {made['requests']:,} requests",
}


# ---- what was found ------------------------------------------------------------------------------------------------


def _data(made: Mapping[str, Artifact]) -> Iterable[Block]:
    if "clean" not in made:
        return
    cleaned = made["clean"]
    if sources := cleaned.get("sources"):
        yield Rows(("source", "identity"), [*sources.items()])
    if reasons := cleaned["reasons"]:
        yield Rows(("reason for quarantine", "rows"), [*reasons.items()])
    split = made.get("features", {})
    if "labelled" in split:
        parts = split["labelled"]
        rows = [(name, *(counts[name] for counts in parts.values())) for name in split["classes"]]
        yield Rows(("class", *parts), rows, "The split")
    elif split:
        rows = [
            (name, interval["start"][:16], interval["end"][:16], split["rows"].get(name), split["positives"].get(name))
            for name, interval in split["intervals"].items()
        ]
        yield Rows(("part", "from", "until", "rows", "positives"), rows, "The split")


def _decision(made: Mapping[str, Artifact]) -> Iterable[Block]:
    if "decide" not in made:
        return
    decision = made["decide"]
    yield from (Text(reason) for reason in decision["reasons"])
    yield from (Text(hint, "warning") for hint in decision["hints"])
    if scores := decision["scores"]:
        yield candidates(scores)


def candidates(scores: Mapping[str, Mapping[str, float]]) -> Block:
    """What each candidate of a decision reached, the weakest first."""
    names = dict.fromkeys(name for figures in scores.values() for name in figures)
    plain = [name for name in names if not name.endswith(("_low", "_high"))]
    best = next((name for name in HEADLINES if name in plain), plain[0])
    ranked = sorted(scores.items(), key=lambda item: item[1].get(best, 0.0))
    rows = [(candidate, *(figures.get(name) for name in plain)) for candidate, figures in ranked]
    return Rows(("candidate", *(name.replace("_", " ") for name in plain)), rows, "On the later part of the data")


def _model(made: Mapping[str, Artifact]) -> Iterable[Block]:
    if trained := made.get("train"):
        settings = [(name, shown(value)) for name, value in trained["algorithm"].items()]
        yield Rows(("setting", "value"), settings, "The algorithm")
        yield from performance(trained.get("performance", {}))
    if evaluation := made.get("evaluate"):
        yield Rows(("metric", "value", "low", "high"), with_ends(evaluation["metrics"]), "On the test rows")
        if thresholds := evaluation["thresholds"]:
            yield Rows(("decision", "from score"), [*thresholds.items()], "Chosen on validation rows")
    if version := made.get("register"):
        yield Facts({"Name": version["name"], "Version": version["version"], "Digest": version["digest"][:12]})


def performance(figures: Mapping[str, float]) -> Iterable[Block]:
    """What the fit took; runs of before it was measured have nothing to show."""
    rows = [(words, shown(figures[name])) for name, words in PERFORMANCE.items() if name in figures]
    if rows:
        yield Rows(("measure", "value"), rows, "What the fit took")


PERFORMANCE = {
    "samples_per_second": "Rows a second, all workers",
    "start_up_s": "Start-up, s",
    "fit_s": "Fit, s",
    "data_wait_s": "Waiting for data, s",
    "compute_s": "Computing, s",
    "memory_mb": "Memory, MB",
    "device_mb": "Memory of the GPU, MB",
    "worker_seconds_per_1000": "Worker seconds per 1,000 rows",
    "cost_per_1000": "Cost per 1,000 rows",
}


def _service(made: Mapping[str, Artifact]) -> Iterable[Block]:
    if endpoint := made.get("deploy"):
        route = endpoint.get("route", "score")
        yield Facts({route.capitalize(): f"POST {endpoint['url']}/{route}", "Documentation": _docs(endpoint["url"])})
    yield from (Text(alarm, "bad") for alarm in made.get("monitor", {}).get("alarms", ()))


def _docs(url: str) -> Link:
    return Link("OpenAPI page", f"{url.rstrip('/')}/docs")


PARTS: Sequence[tuple[str, Callable[[Mapping[str, Artifact]], Iterable[Block]]]] = (
    ("Data", _data),
    ("Is a model needed?", _decision),
    ("Model", _model),
    ("Service", _service),
)
