"""The page of `monitor`: did the traffic move away from what the model was trained on?"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ray_mlops.reports import charts
from ray_mlops.reports.numerals import percent
from ray_mlops.reports.page import Block, Chart, Facts, Page, Rows, Section, Text

DRAWN = 7  # the score and the most shifted features

Told = Mapping[str, Any]


def monitor_page(told: Told, compared: Mapping[str, Told]) -> Page:
    """A page from the content of `monitor.json` and, by name, the distributions `before` and `now`."""
    sections = [Section("Verdict", (*_verdict(told), _facts(told)))]
    if told["shifts"]:
        sections += [
            Section("What moved", _shifts(told)),
            Section("Distributions", [*_drawn(compared)]),
        ]
    return Page("Monitoring", f"endpoint {told['endpoint']}, model version {told['version']}", tuple(sections))


def _verdict(told: Told) -> Iterable[Block]:
    if told["status"] == "insufficient_data":
        missing = told["min_requests"] - told["requests"]
        yield Text(f"No statement yet: {missing:,} more requests are needed for one.", "warning")
        return
    if told["status"] == "ok":
        yield Text("No drift: the traffic looks like the training data.", "good")
    for alarm in told["alarms"]:
        yield Text(alarm, "bad")


def _facts(told: Told) -> Block:
    return Facts(
        {
            "Requests": told["requests"],
            "First": told["first"][:19].replace("T", " ") or None,
            "Last": told["last"][:19].replace("T", " ") or None,
            "Answered by other versions": told["other_versions"],
            "Answered without the model": told["degraded"],
            "Unreadable lines": told["unreadable"],
            "Not compacted": told["not_compacted"] or None,
        }
    )


def _shifts(told: Told) -> Sequence[Block]:
    shifts = told["shifts"]
    bars = [{"name": row["name"], "PSI": value, "which": which} for row in shifts[:20] for which, value in _levels(row)]
    names = (
        "of",
        "name",
        "PSI",
        "by chance",
        "alarm above",
        "KS",
        "outside training range",
        "missing",
        "missing before",
    )
    rows = [
        (
            row["of"], row["name"], row["psi"], row["expected"], row["threshold"], row["ks"],
            percent(row["outside_share"]), percent(row["missing_share"]), percent(row["missing_share_before"]),
        )
        for row in shifts
    ]  # fmt: skip
    words = (
        "The population stability index (PSI) compares shares of the same bins. Chance alone gives the value in the "
        f"column “by chance”; an alarm needs {told['psi_limit']:g} more than that, and so much that all comparisons "
        f"together would raise a false alarm with a probability of at most {percent(told['false_alarms'], 1)} when nothing has "
        "changed and requests are independent."
    )
    return [
        Text(words),
        Chart(charts.ranked(bars, name="name", value="PSI", series="which"), "Shift"),
        Rows(names, rows),
    ]


def _levels(row: Told) -> tuple[tuple[str, float], ...]:
    return ("observed", row["psi"]), ("alarm above", row["threshold"])


def _drawn(compared: Mapping[str, Told]) -> Iterable[Block]:
    for name, pair in list(compared.items())[:DRAWN]:
        rows = [
            {name: label, "share": share, "when": when}
            for when, side in (("training", pair["before"]), ("now", pair["now"]))
            for label, share in _shares(side)
        ]
        filled = {row[name] for row in rows if row["share"] > 0}
        shown = [row for row in rows if row[name] in filled]
        yield Chart(charts.columns(shown, name=name, value="share", series="when", percent=True), name)


def _shares(side: Told) -> list[tuple[str, float]]:
    """The bins by the value they begin at, and the share of rows in each."""
    edges = side["edges"]
    labels = ["lower", *(f"{edge:.4g}" for edge in edges[:-1]), "higher", "missing"]
    counts = (*side["counts"], side["missing"])
    total = max(sum(counts), 1)
    return [(label, count / total) for label, count in zip(_distinct(labels), counts, strict=True)]


def _distinct(labels: Sequence[str]) -> Iterable[str]:
    """Labels made different where rounding made them equal."""
    met: Counter[str] = Counter()
    for label in labels:
        met[label] += 1
        yield label if met[label] == 1 else f"{label} ({met[label]})"
