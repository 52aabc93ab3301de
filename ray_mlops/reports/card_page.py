"""The model card: what a model is for, what it was made from, how good it is and where it is not, from its bundle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.model_card import CARD
from ray_mlops.reports.card_limits import limits
from ray_mlops.reports.numerals import percent, shown, with_ends
from ray_mlops.reports.page import Block, Facts, Page, Rows, Section, Text
from ray_mlops.reports.run_page import candidates

_MOST_FEATURES = 15
_MOST_SLICES = 30
_RISKS = {"high": "bad", "medium": "warning", "low": "good"}


@dataclass(frozen=True)
class Identity:
    """Which version a card is of, and what the registry says of it."""

    name: str
    version: str
    digest: str
    approval: str = ""
    aliases: tuple[str, ...] = ()


def card_page(bundle: Bundle, identity: Identity) -> Page:
    """The card of a bundle of either family; bundles of before there were cards have fewer sections."""
    known = {name: bundle.json(f"{name}.json") if bundle.has(f"{name}.json") else {} for name in _FILES}
    card = bundle.json(CARD) if bundle.has(CARD) else {"stated": {}, "appraisal": {}}
    stated, appraisal = card["stated"], card["appraisal"]
    sections = (
        Section("What it is for", tuple(_purpose(stated))),
        Section("Why a model", tuple(_decision(known["decision"]))),
        Section("Data", tuple(_data(known["lineage"]))),
        Section("How good it is", tuple(_figures(known["evaluation"], known["thresholds"], appraisal))),
        Section("Where it is strong and weak", tuple(_slices(appraisal))),
        Section("Groups of people", tuple(_groups(appraisal))),
        Section("What it looks at", tuple(_importance(appraisal))),
        Section("Limits", tuple(Text(limit) for limit in limits(stated, appraisal, known))),
        Section("Lineage", tuple(_lineage(known["lineage"], bundle))),
    )
    title = f"Model card: {identity.name} {identity.version}"
    heads = Section("Summary", (Facts(_heads(identity, stated, known)),))
    return Page(title, stated.get("purpose", ""), (heads, *(section for section in sections if section.blocks)))


_FILES = ("lineage", "decision", "evaluation", "thresholds", "classes")


def _heads(identity: Identity, stated: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    algorithm = known["lineage"].get("algorithm", {})
    return {
        "Model": identity.name,
        "Version": identity.version,
        "Approval": " ".join((identity.approval, *identity.aliases)).strip() or None,
        "Algorithm": algorithm.get("kind"),
        "Risk of its use": stated.get("risk", "not rated"),
        "Owner": stated.get("owner") or None,
        "Digest": identity.digest[:12],
    }


def _purpose(stated: Mapping[str, Any]) -> Iterator[Block]:
    if stated.get("purpose"):
        yield Text(stated["purpose"])
    for use in stated.get("not_for", ()):
        yield Text(f"Not for: {use}", "warning")
    if tone := _RISKS.get(stated.get("risk", "")):
        yield Text(f"The risk of its use is rated {stated['risk']}.", tone)  # pyright: ignore[reportArgumentType]


def _decision(decision: Mapping[str, Any]) -> Iterator[Block]:
    if not decision:
        return
    yield Text(f"The decision was {decision['verdict']}.", "good" if decision["verdict"] == "use_ml" else "warning")
    yield from (Text(reason) for reason in decision["reasons"])
    yield from (Text(hint, "warning") for hint in decision.get("hints", ()))
    if scores := decision.get("scores"):
        yield candidates(scores)


def _data(lineage: Mapping[str, Any]) -> Iterator[Block]:
    if tables := lineage.get("tables"):
        rows = [(role, table["name"], table["snapshot"]) for role, table in tables.items()]
        yield Rows(("role", "table", "snapshot"), rows, "Tables, named by their content")
    if sources := lineage.get("sources"):
        yield Rows(("source", "identity"), [*sources.items()])
    if intervals := lineage.get("intervals"):
        rows = [
            (part, span["start"][:10], span["end"][:10], lineage["rows"].get(part), lineage["positives"].get(part))
            for part, span in intervals.items()
        ]
        yield Rows(("part", "from", "until", "rows", "frauds"), rows, "The split in time")
    if labelled := lineage.get("labelled"):
        classes = list(dict.fromkeys(name for counts in labelled.values() for name in counts))
        rows = [(name, *(counts.get(name) for counts in labelled.values())) for name in classes]
        yield Rows(("class", *labelled), rows, "Images by class")


def _figures(
    metrics: Mapping[str, float], thresholds: Mapping[str, float | None], appraisal: Mapping[str, Any]
) -> Iterator[Block]:
    measured = appraisal.get("metrics", {})
    if measured:
        rows = [
            (name.replace("_", " "), found["value"], found["low"], found["high"]) for name, found in measured.items()
        ]
        yield Rows(("figure", "value", "low", "high"), rows, "On test rows that it never saw, with intervals")
    elif metrics:
        yield Rows(("figure", "value", "low", "high"), with_ends(metrics), "On test rows that it never saw")
    if thresholds:
        rows = [(name, "never" if score is None or score > 1 else shown(score)) for name, score in thresholds.items()]
        yield Rows(("decision", "from score"), rows, "Chosen on validation rows")
    if spoilt := appraisal.get("robustness"):
        rows = [(row["kind"], row["strength"], percent(row["accuracy"], 1)) for row in spoilt]
        yield Rows(("pictures", "strength", "accuracy"), rows, "Robustness")


def _slices(appraisal: Mapping[str, Any]) -> Iterator[Block]:
    if parts := appraisal.get("slices"):
        measured = ("average_precision", "precision", "recall", "savings")
        rows = [
            (
                part["by"],
                part["value"],
                part["rows"],
                part["positives"],
                *(part["metrics"][m]["value"] for m in measured),
            )
            for part in parts[:_MOST_SLICES]
        ]
        yield Rows(("by", "slice", "rows", "frauds", "average precision", "precision", "recall", "savings"), rows)
    if classes := appraisal.get("per_class"):
        columns = ("class", "rows", "precision", "recall", "f1")
        yield Rows(columns, [[row[name] for name in columns] for row in classes])


def _groups(appraisal: Mapping[str, Any]) -> Iterator[Block]:
    if not (groups := appraisal.get("groups")):
        return
    rows = []
    for group in groups:
        cells = [group["by"], group["value"], group["rows"], group["positives"]]
        for rate in ("selection_rate", "tpr", "fpr"):
            value, gap = group["rates"][rate]["value"], group["gaps"][rate]
            told = None if gap["low"] is None else f"{100 * gap['low']:+.1f} to {100 * gap['high']:+.1f}"
            cells += [None if value is None else percent(value, 1), told]
        rows.append(cells)
    columns = ("by", "group", "rows", "frauds", "selected", "gap", "frauds caught", "gap", "honest alerted", "gap")
    yield Rows(columns, rows, "Gaps to all others in percentage points, with intervals")


def _importance(appraisal: Mapping[str, Any]) -> Iterator[Block]:
    asked = appraisal.get("importance")
    if asked and asked["features"]:
        by = "mean contribution" if asked["method"] == "contributions" else "loss of average precision"
        rows = [
            (row["feature"], row.get("words"), row["importance"], row.get("direction"))
            for row in asked["features"][:_MOST_FEATURES]
        ]
        yield Rows(("feature", "in words", by, ""), rows, "The most important features")


def _lineage(lineage: Mapping[str, Any], bundle: Bundle) -> Iterator[Block]:
    if not lineage:
        return
    yield Facts(
        {"Recipe": lineage.get("recipe"), "Seed": lineage.get("seed"), "Commit": lineage.get("git", "")[:12] or None}
    )
    settings = [(name, shown(value)) for name, value in lineage.get("algorithm", {}).items()]
    yield Rows(("setting", "value"), settings, "The algorithm")
    made = [
        *lineage.get("environment", {}).items(),
        *((name, code[:12]) for name, code in lineage.get("code", {}).items()),
    ]
    yield Rows(("library or module", "version or hash"), made, "Code and environment")
    yield Rows(("file", "SHA-256"), [(name, code[:16]) for name, code in sorted(bundle.files.items())], "The bundle")
