"""The page of a stage that makes none of its own: what it made, from what, how long it took."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ray_mlops.reports.lineage import EDGES
from ray_mlops.reports.numerals import seconds, shown
from ray_mlops.reports.page import Block, Facts, Link, Page, Rows, Section, Text
from ray_mlops.reports.run_page import page_of, performance, summary

Record = Mapping[str, Any]
Artifact = Mapping[str, Any]


def stage_page(record: Record, made: Mapping[str, Record], *, subtitle: str = "") -> Page:
    """A page of one record, in the folder of the run; `made` are the records of its run by stage."""
    artifact, stage = record["artifact"], record["stage"]
    heads = Facts({
        "Result": summary(artifact, stage) or None, "Status": record["status"], "Time": seconds(record["seconds"]),
        "Rows": sum(record["rows"].values()) if isinstance(record["rows"], Mapping) else record["rows"],
        "Fingerprint": artifact["fingerprint"][:24], "The run": Link("page", "report.html"),
    })  # fmt: skip
    build = _STAGES.get(stage)
    sections = [Section("Summary", (heads,)), *(build(artifact) if build else ())]
    sections.append(Section("Lineage", tuple(_lineage(record, made))))
    return Page(stage.capitalize(), subtitle, sections)


def _lineage(record: Record, made: Mapping[str, Record]) -> Iterator[Block]:
    stage = record["stage"]
    near = [("made from", one) for one, other in EDGES if other == stage and one in made]
    near += [("used by", other) for one, other in EDGES if one == stage and other in made]
    rows = [(how, Link(name, page_of(made[name])), made[name]["artifact"]["fingerprint"][:24]) for how, name in near]
    if rows:
        yield Rows(("how", "stage", "fingerprint"), rows)
    yield Text(f"It lies in {record['artifact']['uri']}")


def _ingest(made: Artifact) -> Iterator[Section]:
    yield Section("Table", (Facts({"Name": made["name"], "Snapshot": made["snapshot"]}),))
    if sources := made.get("sources"):
        yield Section("Sources", (Rows(("source", "identity"), [*sources.items()]),))
    data = made.get("data", {})
    if columns := data.get("columns"):
        roles = {data.get(role): role.replace("_", " ") for role in ("key", "time", "label", "amount", "label_time")}
        roles |= dict.fromkeys(data.get("entities", ()), "entity")
        rows = [
            (
                column["name"], column["type"], roles.get(column["name"]), column["nullable"], column["minimum"],
                column["maximum"], column["domain"], column["description"] or None,
            )
            for column in columns
        ]  # fmt: skip
        names = ("column", "type", "role", "may be missing", "least", "largest", "legal values", "description")
        yield Section("Columns", (Rows(names, rows, "As declared; what is not so goes into quarantine"),))


def _features(made: Artifact) -> Iterator[Section]:
    if intervals := made.get("intervals"):
        rows = [
            (part, span["start"], span["end"], made["rows"].get(part), made["positives"].get(part))
            for part, span in intervals.items()
        ]
        text = Text(
            "The parts follow one another in time; between train and validation lie the days for which labels wait."
        )
        yield Section("Split", (text, Rows(("part", "from", "until", "rows", "positives"), rows)))
    if labelled := made.get("labelled"):
        rows = [(name, *(counts.get(name) for counts in labelled.values())) for name in made["classes"]]
        yield Section("Split", (Rows(("class", *labelled), rows),))
    if names := made.get("names"):
        words = made.get("words", {})
        rows = [(place, name, words.get(name)) for place, name in enumerate(names, 1)]
        yield Section(
            "Features", (Rows(("", "feature", "in words"), rows, "In the order in which the model reads them"),)
        )
    if shape := made.get("shape"):
        facts = {"Height": shape[0], "Width": shape[1], "Channels": shape[2], "Stored as": made["stored"]}
        yield Section("Pictures", (Facts(facts),))


def _train(made: Artifact) -> Iterator[Section]:
    settings = [(name, shown(value)) for name, value in made["algorithm"].items()]
    yield Section("Algorithm", (Rows(("setting", "value"), settings),))
    if metrics := made.get("metrics"):
        yield Section("On validation rows", (Rows(("metric", "value"), [*metrics.items()]),))
    if taken := [*performance(made.get("performance", {}))]:
        yield Section("What the fit took", taken)
    if kept := made.get("checkpoints"):
        rows = [(path.rpartition("/")[2], score) for path, score in kept.items()]
        yield Section("Checkpoints", (Rows(("checkpoint", "score"), rows, "The best first"),))


def _register(made: Artifact) -> Iterator[Section]:
    facts = {"Model": made["name"], "Version": made["version"], "Aliases": " ".join(made["aliases"]) or None}
    card = Text(f"Its model card: ray-mlops card {made['name']}/{made['version']}")
    yield Section("Version", (Facts(facts), Text(f"Digest {made['digest']}"), card))


def _deploy(made: Artifact) -> Iterator[Section]:
    url, route = made["url"], made.get("route", "score")
    facts = {
        "Endpoint": made["name"], "Version": made["version"], "Digest": made.get("digest", "")[:12] or None,
        "Documentation": Link("OpenAPI page", f"{url.rstrip('/')}/docs"),
        "Rows alike online and in batch": made.get("parity_rows") or None,
    }  # fmt: skip
    yield Section("Endpoint", (Facts(facts), Text(f"POST {url}/{route}"), Text(f"Its log: {made.get('capture', '–')}")))


_STAGES: Mapping[str, Callable[[Artifact], Iterator[Section]]] = {
    "ingest": _ingest, "features": _features, "train": _train, "register": _register, "deploy": _deploy,
}  # fmt: skip
