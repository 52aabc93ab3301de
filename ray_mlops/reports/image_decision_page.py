"""The page of `decide` for images: whether a network is needed, and the figures behind it."""

from collections.abc import Iterator, Mapping
from typing import Any

from ray_mlops.reports import charts
from ray_mlops.reports.decision_page import ANSWERS
from ray_mlops.reports.numerals import percent
from ray_mlops.reports.page import Block, Chart, Facts, Page, Rows, Section, Text

Record = Mapping[str, Any]
_ONCE = "Learnt from train, judged by validation and test of the recipe's split"


def image_decision_page(record: Record, *, subtitle: str = "") -> Page:
    """A page from the content of `decision.json`."""
    sections = [Section("Answer", tuple(_answer(record)))]
    if record["candidates"]:
        sections.append(Section("Candidates", tuple(_candidates(record))))
    sections.append(Section("Basis", tuple(_basis(record))))
    return Page("Is a network needed?", subtitle, sections)


def _answer(record: Record) -> Iterator[Block]:
    words, tone = ANSWERS[record["verdict"]]
    yield Text(f"{record['verdict']}: {words}", tone)
    for reason in record["reasons"]:
        yield Text(reason)
    for hint in record["hints"]:
        yield Text(f"Next: {hint}")


def _candidates(record: Record) -> Iterator[Block]:
    found = {kind.replace("_", " "): candidate for kind, candidate in record["candidates"].items()}
    points = [
        {"candidate": name, **{end: one["figures"][key] for end, key in _ENDS.items()}} for name, one in found.items()
    ]
    chart = charts.intervals(points, name="candidate", value="accuracy", low="low", high="high")
    yield Chart(chart, "Accuracy of each candidate with its interval")
    rows = [
        (name, one["about"], percent(one["figures"]["accuracy"], 2), percent(one["figures"]["macro_recall"], 2))
        for name, one in found.items()
    ]
    yield Rows(("candidate", "what it is", "accuracy", "mean recall of the classes"), rows, "On the judged images.")
    if gain := record["gain"]:
        ends = (percent(gain[end], 2) for end in ("value", "low", "high"))
        needed = percent(record["settings"]["bar"]["min_gain"], 2)
        row = ("network", record["simple"].replace("_", " "), *ends, needed)
        yield Rows(
            ("candidate", "over", "gain in accuracy", "low", "high", "needed"), [row], "Paired on the same images."
        )


_ENDS = {"accuracy": "accuracy", "low": "accuracy_low", "high": "accuracy_high"}


def _basis(record: Record) -> Iterator[Block]:
    images, judged = record["data"]["images"], record["data"]["judged"]
    yield Facts(
        {
            "Classes": len(images),
            "Images looked at": sum(images.values()),
            "Of them judged by": sum(judged.values()),
            "Labels in doubt": record["doubtful"],
            "Twins with another label": percent(record["conflicting"], 2),
        }
    )
    rows = [(name, count, judged[name]) for name, count in images.items()]
    yield Rows(("class", "images", "judged"), rows)
    how = "In three folds, each judged by what was learnt from the others" if record["crossed"] else _ONCE
    yield Text(f"{how}; duplicates stay on one side.")
