"""The page of `evaluate`: how good the model is, against what, where, and from which score on it alerts."""

from collections.abc import Iterator, Mapping
from typing import Any

from ray_mlops.reports import charts
from ray_mlops.reports.numerals import percent, shown
from ray_mlops.reports.page import Block, Chart, Facts, Page, Rows, Section, Text

Details = Mapping[str, Any]
Measured = Mapping[str, float | None]

FEWEST_FRAUDS = 10  # a slice with fewer has an interval that says nothing and spoils the scale of the chart
_FIRST = ("average_precision", "roc_auc", "precision", "recall", "value_recall", "savings", "ece")
_MOST_BARS = 25
_MEASURES = {"contributions": "mean contribution", "permutation": "loss of average precision"}
_RATES = {"selection_rate": "Selection", "tpr": "The share of frauds caught", "fpr": "The share of honest alerted"}
_LARGE_GAP = 0.05
_GAINS = ("average_precision", "roc_auc", "recall", "value_recall", "savings")


def evaluation_page(details: Details, *, subtitle: str = "") -> Page:
    """A page from the content of `details.json`."""
    sections = [
        Section("Summary", tuple(_summary(details))),
        Section("Figures on test", tuple(_figures(details))),
        Section("Against others on the same rows", tuple(_rivals(details))),
        Section("Ranking and money", tuple(_curves(details))),
        Section("Calibration and scores", tuple(_calibration(details))),
        Section("Day by day", tuple(_days(details))),
        Section("What the model looks at", tuple(looked_at(details["importance"]))),
        Section("Slices", tuple(_slices(details))),
    ]
    if details["groups"]:
        sections.append(Section("Groups of people", tuple(groups(details))))
    return Page("Evaluation", subtitle, sections)


def _summary(details: Details) -> Iterator[Block]:
    data, metrics, test = details["data"], details["metrics"], details["intervals"]["test"]
    yield Facts({
        "Model": details["model"].get("kind", ""),
        "Test rows": data["rows"],
        "Frauds": data["positives"],
        "Test days": f"{test['start'][:10]} to {test['end'][:10]} (excluded)",
        "Average precision": metrics["average_precision"]["value"],
        "Caught at the review threshold": _share(metrics["recall"]["value"]),
        "Saved": metrics["savings"]["value"],
        "Lost when nobody looks": data["stolen"],
    })  # fmt: skip
    for name, rival in details["rivals"].items():
        yield _verdict(name, rival)
    if "rule" not in details["rivals"]:
        yield Text("There is no rule to compare with.")
    if "champion" not in details["rivals"]:
        yield Text("There is no champion to compare with.")
    for note in details["notes"]:
        yield Text(note, "warning")


def _verdict(name: str, rival: Details) -> Text:
    gain = rival["gain"]["average_precision"]
    told = f"{shown(gain['value'])} [{shown(gain['low'])}, {shown(gain['high'])}] in average precision"
    if gain["low"] is not None and gain["low"] > 0:
        return Text(f"Better than the {name} ({rival['about']}): {told}.", "good")
    if gain["high"] is not None and gain["high"] < 0:
        return Text(f"Worse than the {name} ({rival['about']}): {told}.", "bad")
    return Text(f"Not distinguishable from the {name} ({rival['about']}): {told}.", "warning")


def _figures(details: Details) -> Iterator[Block]:
    metrics, reachable = details["metrics"], details["attainable"]
    names = [name for name in (*_FIRST, *metrics) if name in metrics]
    rows = [
        (name.replace("_", " "), *_ends(metrics[name]), reachable.get(f"{name}_attainable"))
        for name in dict.fromkeys(names)
        if "_over_" not in name
    ]
    level = details["settings"]["confidence"]
    caption = f"{level:.0%} intervals by resampling days; attainable is what a perfect score reaches."
    yield Rows(("figure", "value", "low", "high", "attainable"), rows, caption)
    thresholds, policy = details["thresholds"], details["settings"]["policy"]
    by = "by cost" if policy["by"] == "cost" else f"for {policy['alerts_per_day']:g} alerts a day"
    text = f"Review from a score of {thresholds['review']:.6g} on, chosen on validation {by}; "
    yield Text(
        text + f"block from {thresholds['block']:.6g} on, for a precision of {percent(policy['block_precision'], 0)}."
    )


def _rivals(details: Details) -> Iterator[Block]:
    for name, rival in details["rivals"].items():
        keys = [key for key in (*_GAINS, *rival["gain"]) if key in rival["gain"] and key != "ece"]
        rows = [
            (
                key.replace("_", " "),
                details["metrics"][key]["value"],
                rival["metrics"][key]["value"],
                *_ends(rival["gain"][key]),
            )
            for key in dict.fromkeys(keys)
        ]
        columns = ("figure", "model", name, "difference", "low", "high")
        yield Rows(columns, rows, f"{name}: {rival['about']}; differences are paired over days")


def _curves(details: Details) -> Iterator[Block]:
    found = details["curves"]
    yield Chart(
        charts.line(found["precision_recall"], x="recall", y="precision", series="of"), "Precision against recall"
    )
    yield Chart(
        charts.line(found["cost"], x="alerts a day", y="savings", series="of"),
        "Money saved against alerts a day, reviews paid",
    )


def _calibration(details: Details) -> Iterator[Block]:
    points = details["curves"]["calibration"]
    if points:
        drawn = [{"of": "model", "predicted": row["predicted"], "observed": row["observed"]} for row in points]
        top = max(row["predicted"] for row in points)
        drawn += [{"of": "exact", "predicted": at, "observed": at} for at in (0.0, top)]
        chart = charts.line(drawn, x="predicted", y="observed", series="of")
        yield Chart(chart, "Share of frauds against predicted probability")
    yield Chart(
        charts.line(details["curves"]["scores"], x="log-odds of the score", y="share", series="of"),
        "Distribution of scores, frauds and honest transactions",
    )


def _days(details: Details) -> Iterator[Block]:
    days = details["curves"]["days"]
    counted = [name for name in ("frauds", "caught", "alerts") if days and name in days[0]]
    drawn = [{"day": row["day"], "number": row[name], "of": name} for row in days for name in counted]
    yield Chart(
        charts.line(drawn, x="day", y="number", series="of", scale="temporal"), "Frauds, alerts and hits by day"
    )
    columns = list(days[0]) if days else []
    yield Rows(columns, [[row[name] for name in columns] for row in days])


def looked_at(asked: Details) -> Iterator[Block]:
    """The features by importance, from `importance` of the details."""
    features = asked["features"]
    if not features:
        yield Text(
            "There was nothing to ask: no features, or frauds and honest transactions were not both among the rows."
        )
        return
    bars = [{"feature": row["feature"], _MEASURES[asked["method"]]: row["importance"]} for row in features[:_MOST_BARS]]
    rows = f"{asked['rows']:,} test rows"
    if asked["method"] == "permutation":
        yield Text(
            f"By permutation on {rows}: how much average precision is lost when the column is shuffled, five times."
        )
        columns = ("feature", "in words", "loss of average precision", "standard deviation")
        table = [(row["feature"], row["words"], row["importance"], row["spread"]) for row in features]
    else:
        yield Text(
            f"By the model's own contributions to the log-odds (SHAP) on {rows}: their mean size over all transactions, "
            "and over the frauds alone."
        )
        columns = ("feature", "in words", "mean contribution", "on frauds", "")
        table = [
            (row["feature"], row["words"], row["importance"], row["on_frauds"], row["direction"]) for row in features
        ]
    yield Chart(charts.ranked(bars, name="feature", value=_MEASURES[asked["method"]]), "Importance of the features")
    if asked["points"]:
        drawn = charts.swarm(
            asked["points"], name="feature", value="contribution", shade="rank of the value", tips=("value",)
        )
        yield Chart(drawn, "What single transactions got from a feature: red are its high values, blue its low ones")
    yield Rows(columns, table)


def groups(details: Details) -> Iterator[Block]:
    """How groups of people are treated, from `groups` of the details."""
    level = details["settings"]["confidence"]
    yield Text(
        "Selected is what is reviewed or blocked. Gaps are to all other rows of the grouping, in percentage points with "
        f"{level:.0%} intervals by resampling days; of many groups some intervals leave out 0 by chance alone."
    )
    for group in details["groups"]:
        for rate, words in _RATES.items():
            gap = group["gaps"][rate]
            if None not in gap.values() and group["positives"] >= FEWEST_FRAUDS and _notable(gap):
                more = "more" if gap["value"] > 0 else "less"
                named = f"{words} of {group['by']} {group['value']} is {percent(abs(gap['value']), 1)} {more} than of the others"
                yield Text(f"{named} [{percent(gap['low'], 1)}, {percent(gap['high'], 1)}].", "warning")
    table = []
    for group in details["groups"]:
        cells = [group["by"], group["value"], group["rows"], group["positives"]]
        for rate in _RATES:
            gap = group["gaps"][rate]
            interval = None if gap["low"] is None else f"{100 * gap['low']:+.1f} to {100 * gap['high']:+.1f}"
            cells += [_share(group["rates"][rate]["value"]), interval]
        table.append(cells)
    columns = ["by", "group", "rows", "frauds", "selected", "gap", "frauds caught", "gap", "honest alerted", "gap"]
    yield Rows(columns, table, "Rates by group, and the interval of their gap to all others")


def _notable(gap: Measured) -> bool:
    """Whether a gap is large and not explained by the days at hand."""
    value, low, high = _ends(gap)
    return abs(value or 0) >= _LARGE_GAP and ((low or 0) > 0 or (high or 0) < 0)


def _slices(details: Details) -> Iterator[Block]:
    parts = details["slices"]
    if not parts:
        yield Text("The test rows cannot be cut into slices.")
        return
    points = [
        {"slice": f"{part['by']}: {part['value']}", **part["metrics"]["average_precision"]}
        for part in parts
        if part["positives"] >= FEWEST_FRAUDS and None not in part["metrics"]["average_precision"].values()
    ]
    if points:
        chart = charts.intervals(points, name="slice", value="value", low="low", high="high")
        yield Chart(chart, "Average precision by slice, with its interval")
    measured = ("average_precision", "precision", "recall", "value_recall", "savings")
    rows = [
        (
            part["by"],
            part["value"],
            part["rows"],
            part["positives"],
            *(part["metrics"][name]["value"] for name in measured),
        )
        for part in parts
    ]
    columns = ("by", "slice", "rows", "frauds", *(name.replace("_", " ") for name in measured))
    yield Rows(columns, rows, "Average precision depends on the share of frauds in a slice: compare it with care.")


def _ends(measured: Measured) -> tuple[float | None, float | None, float | None]:
    return measured["value"], measured["low"], measured["high"]


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value, 1)
