"""The page of `monitor`: did the traffic move away from what the model was trained on?"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ray_mlops.reports import charts
from ray_mlops.reports.page import Block, Chart, Facts, Page, Rows, Section, Text

DRAWN = 7  # the most shifted
LISTED = 60

Told = Mapping[str, Any]


def monitor_page(told: Told, compared: Mapping[str, Told]) -> Page:
    """A page from the content of `monitor.json` and, by the name of their reading, the distributions `before` and `now`."""
    sections = [Section("Verdict", (*_verdict(told), _facts(told)))]
    if told["cause"]:
        sections += [Section("Cause", cause_blocks(told["cause"]))]
    if told["readings"]:
        moved = [row for row in told["readings"] if row["monitor"] == "data drift"]
        ordered = sorted(moved, key=lambda row: row["limit"] - row["effect"])
        sections += [Section("What moved", _shifts(told, ordered))]
        others = [row for row in told["readings"] if row["monitor"] != "data drift"]
        sections += [Section(title, _listed(rows)) for title, rows in _by_monitor(others).items()]
        names = [row["name"] for row in ordered if row["name"] in compared]
        sections += [Section("Distributions", [*_drawn({name: compared[name] for name in names})])]
    if told["quality"]:
        sections += [Section("Quality by the age of the answers", _quality(told))]
    if told["windows"]:
        sections += [Section("Windows", _windows(told))]
    return Page("Monitoring", f"endpoint {told['endpoint']}, model version {told['version']}", tuple(sections))


def _verdict(told: Told) -> Iterable[Block]:
    if told["status"] == "insufficient_data":
        missing = told["settings"]["min_requests"] - told["requests"]
        yield Text(f"No statement yet: {max(missing, 1):,} more requests are needed for one.", "warning")
        return
    if told["status"] == "ok":
        yield Text("No alarm: the traffic looks like the training data.", "good")
    for alarm in told["alarms"]:
        yield Text(alarm, "bad")


def cause_blocks(cause: Told) -> Sequence[Block]:
    """A cause report, as JSON, for a page: what to do and why, what moved since when, requests that show it."""
    blocks: list[Block] = [
        Text(f"Proposed: {cause['action']}.", "warning" if cause["action"] == "keep" else "bad"),
        *(Text(f"{reason[:1].upper()}{reason[1:]}.") for reason in cause["reasons"]),
        Facts({"Cause report": cause["id"], "Since": _at(cause["since"]), "Until": _at(cause["end"])}),
    ]
    rows = [
        (
            one["key"], one["words"], one["effect"], one["limit"], _at(one["since"]), one["windows"], one["shows"] or None,
            ", ".join(one["samples"]) or None,
        )
        for one in cause["causes"]
    ]  # fmt: skip
    blocks += [Rows(("alarm", "found", "effect", "limit", "since", "windows", "shown by", "requests"), rows)]
    if cause["slices"]:
        moved = [(one["name"], one["requests"], one["psi"]) for one in cause["slices"]]
        blocks += [Text("Slices whose scores moved most:"), Rows(("slice", "requests", "PSI above chance"), moved)]
    return blocks


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds").removesuffix("+00:00")


def _facts(told: Told) -> Block:
    return Facts(
        {
            "Requests": told["requests"],
            "From": _clock(told["first"]),
            "To": _clock(told["last"]),
            "Answered without the model": told["degraded"],
            "Refused": told["refused"],
            "Lines of the log lost": told["capture"].get("dropped", 0),
            "Not compacted": told["not_compacted"] or None,
        }
    )


def _clock(moment: str | None) -> str | None:
    return moment and moment[:19].replace("T", " ")


def _shifts(told: Told, moved: Sequence[Told]) -> Sequence[Block]:
    rule = told["settings"]["alarm"]
    bars = [
        {"name": row["name"], "PSI": value, "which": which}
        for row in moved[:20]
        for which, value in (("observed", row["measures"]["psi"]), ("by chance", row["measures"]["expected"]))
    ]
    names = ("of", "PSI", "by chance", "KS", "JS", "Wasserstein", "p", "too much")
    rows = [
        (
            row["name"], *(row["measures"].get(name) for name in ("psi", "expected", "ks", "js", "wasserstein")),
            row["chance"], "yes" if row["exceeds"] else "no",
        )
        for row in moved
    ]  # fmt: skip
    words = (
        "The population stability index (PSI) compares shares of the same bins; chance alone gives the value in the column "
        f"“by chance”. Too much is {told['settings']['drift']['psi']:g} above that, in {rule['needed']} of the last "
        f"{rule['windows']} windows. All comparisons of a window together raise a false alarm with a probability of at most "
        f"{rule['false_alarms']:g} when nothing has changed and requests are independent."
    )
    return [
        Text(words),
        Chart(charts.ranked(bars, name="name", value="PSI", series="which"), "Shift"),
        Rows(names, rows),
    ]


def _by_monitor(rows: Iterable[Told]) -> dict[str, list[Told]]:
    found: dict[str, list[Told]] = {}
    for row in rows:
        found.setdefault(row["monitor"].capitalize(), []).append(row)
    return found


def _listed(rows: Sequence[Told]) -> Sequence[Block]:
    """What is most remarkable first."""
    ordered = sorted(rows, key=lambda row: (not row["exceeds"], row["chance"], row["name"]))
    cells = [(row["name"], row["words"], row["chance"], "yes" if row["exceeds"] else "no") for row in ordered]
    return [Rows(("of", "found", "p", "too much"), cells[:LISTED])]


_FIGURES = {
    "days": "days or older", "answers": "answers", "labelled": "labelled", "positives": "positive", "accuracy": "top-1",
    "average_precision": "AP", "best_constant": "best constant", "at_test_prevalence": "AP at the test's prevalence",
    "precision": "precision of alerts", "recall": "recall of alerts", "precision_at_budget": "precision at budget",
    "recall_at_budget": "recall at budget", "macro_f1": "macro F1", "predicted": "mean probability", "observed": "observed",
    "ece": "ECE",
}  # fmt: skip
_OF_THE_TEST = ("accuracy", "average_precision", "precision", "recall", "macro_f1", "ece")


def _quality(told: Told) -> Sequence[Block]:
    names = [name for name in _FIGURES if name in told["quality"][0]]
    test = [told["tested"].get(name) if name in _OF_THE_TEST else None for name in names]
    rows = [["test rows", *test[1:]], *([row[name] for name in names] for row in told["quality"])]
    compared = (
        "the average precision at the prevalence of the test rows is the one to compare with the test"
        if "at_test_prevalence" in names
        else "where only mistakes are reported, top-1 is too low"
    )
    words = (
        "By the labels that have come until now. The younger the answers, the fewer have theirs, and which come first is no "
        f"accident; {compared}."
    )
    return [Text(words), Rows([_FIGURES[name] for name in names], rows)]


def _windows(told: Told) -> Sequence[Block]:
    replay, rule = told["replay"], told["settings"]["alarm"]
    told_by = [
        (_clock(one["start"]), _clock(one["end"]), one["requests"], "; ".join(one["alarms"]) or "none")
        for one in reversed(told["windows"])
    ]
    words = (
        f"The rule of today would have fired in {replay['fired']} of the last {replay['windows']:,} windows, since "
        f"{_clock(told['windows'][0]['start'])}; where nothing has changed it would in {replay['windows'] * rule['false_alarms']:.2g}."
        if replay["windows"]
        else "No window has had enough requests to be judged yet."
    )
    return [Text(words), Rows(("from", "to", "requests", "alarms"), told_by[:LISTED])]


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
