"""The page of `decide`: whether a model is needed, and the figures behind it."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from ray_mlops.reports import charts
from ray_mlops.reports.numerals import percent, shown
from ray_mlops.reports.page import Block, Chart, Facts, Page, Rows, Section, Text

Record = Mapping[str, Any]

ANSWERS: Mapping[str, tuple[str, Literal["good", "plain", "warning", "bad"]]] = {
    "use_ml": ("A model is worth having.", "good"),
    "no_ml": ("No model is needed: a simple candidate is as good.", "plain"),
    "collect_more": ("The data cannot tell yet: collect more.", "warning"),
    "redefine": ("The question has to be put differently.", "bad"),
}
NAMES = {
    "constant": "constant",
    "single_feature": "single feature",
    "rule": "hand rule",
    "linear": "linear model",
    "boosting": "boosting",
}


def decision_page(record: Record, *, subtitle: str = "") -> Page:
    """A page from the content of `decision.json`."""
    sections = [Section("Answer", tuple(_answer(record)))]
    if record["candidates"]:
        sections += [Section("Candidates", tuple(_candidates(record))), Section("Gain", tuple(_gains(record)))]
    sections.append(Section("Basis", tuple(_basis(record))))
    return Page("Is a model needed?", subtitle, sections)


def _answer(record: Record) -> Iterator[Block]:
    words, tone = ANSWERS[record["verdict"]]
    yield Text(f"{record['verdict']}: {words}", tone)
    for reason in record["reasons"]:
        yield Text(reason)
    for hint in record["hints"]:
        yield Text(f"Next: {hint}")


def _candidates(record: Record) -> Iterator[Block]:
    rows, ranked, money = [], [], []
    for kind, candidate in record["candidates"].items():
        name, found = NAMES[kind], candidate["figures"]
        rows.append((
            name, candidate["about"], found["average_precision"], found["savings"],
            found.get("precision"), found.get("recall"), int(found["alerts"]),
        ))  # fmt: skip
        ranked.append(_point(name, found, "average_precision"))
        money.append(_point(name, found, "savings"))
    columns = ("candidate", "looks at", "average precision", "savings", "precision", "recall", "alerts")
    yield Rows(columns, rows, "On the later part; thresholds were chosen on the earlier part, by money.")
    for points, what in ((ranked, "average precision"), (money, "savings")):
        if all("low" in point for point in points):
            chart = charts.intervals(points, name="candidate", value="value", low="low", high="high")
            yield Chart(chart, f"{what.capitalize()} with its interval over days")


def _point(name: str, figures: Mapping[str, float], metric: str) -> dict[str, Any]:
    ends = {end: figures[f"{metric}_{end}"] for end in ("low", "high") if f"{metric}_{end}" in figures}
    return {"candidate": name, "value": figures[metric], **ends}


def _gains(record: Record) -> Iterator[Block]:
    bar = record["settings"]["bar"]
    rows = []
    for metric, needed in (("average_precision", bar["min_gain_ap"]), ("money", bar["min_gain_money"])):
        gain = record["gains"][metric]
        told = percent if metric == "money" else shown
        numbers = [None if gain[end] is None else told(gain[end]) for end in ("value", "low", "high")]
        rows.append((metric.replace("_", " "), NAMES[gain["model"]], NAMES[gain["simple"]], *numbers, told(needed)))
    columns = ("gain in", "model", "over", "gain", "low", "high", "needed")
    yield Rows(columns, rows, "Paired over days; money is the share of the money lost to fraud.")


def _basis(record: Record) -> Iterator[Block]:
    data, costs = record["data"], record["settings"]["costs"]
    facts: dict[str, Any] = {"Cost of a review": costs["review"]}
    if data:
        facts |= {
            "Rows to learn from": data["earlier_rows"],
            "Positives among them": data["earlier_positives"],
            "Rows to judge by": data["later_rows"],
            "Positives there": data["later_positives"],
        }
    if "stolen" in data:
        facts |= {"Days judged": data["days_judged"], "Lost when nobody looks": data["stolen"]}
    yield Facts(facts)
    yield Text(
        "Earlier and later part are train, and validation with test, of the recipe's split, with its label delay."
    )
