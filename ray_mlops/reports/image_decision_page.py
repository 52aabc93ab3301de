"""The page of `decide` for images: whether a model is needed, and the figures behind it."""

from collections.abc import Iterator, Mapping
from typing import Any

from ray_mlops.reports import charts
from ray_mlops.reports.decision_page import ANSWERS
from ray_mlops.reports.numerals import percent
from ray_mlops.reports.page import Block, Chart, Facts, Page, Rows, Section, Text

Record = Mapping[str, Any]


def image_decision_page(record: Record, *, subtitle: str = "") -> Page:
    """A page from the content of `decision.json`."""
    sections = [Section("Answer", tuple(_answer(record)))]
    if record["candidates"]:
        sections.append(Section("Candidates", tuple(_candidates(record))))
    sections.append(Section("Basis", (Facts(record["data"]),)))
    return Page("Is a model needed?", subtitle, sections)


def _answer(record: Record) -> Iterator[Block]:
    words, tone = ANSWERS[record["verdict"]]
    yield Text(f"{record['verdict']}: {words}", tone)
    for reason in record["reasons"]:
        yield Text(reason)
    for hint in record["hints"]:
        yield Text(f"Next: {hint}")


def _candidates(record: Record) -> Iterator[Block]:
    told = {kind.replace("_", " "): candidate for kind, candidate in record["candidates"].items()}
    points = [
        {"candidate": kind, "accuracy": one["accuracy"], "low": one["low"], "high": one["high"]}
        for kind, one in told.items()
    ]
    chart = charts.intervals(points, name="candidate", value="accuracy", low="low", high="high")
    yield Chart(chart, "Accuracy with its interval")
    rows = [(kind, one["about"], percent(one["accuracy"], 1)) for kind, one in told.items()]
    yield Rows(("candidate", "looks at", "accuracy"), rows, "On images that it did not learn from.")
