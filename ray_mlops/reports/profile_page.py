"""The page of `analyse`: what the data is, what it tells of the label, and what to worry about."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from ray_mlops.reports import charts
from ray_mlops.reports.numerals import percent, shown
from ray_mlops.reports.page import Block, Chart, Facts, Page, Rows, Section, Text

MOST_DAYS = 400  # longer histories are drawn by week
MOST_CHARTS = 12
MISSING_NOTICE = 0.05
CONCENTRATION_NOTICE = 0.05
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

Findings = Mapping[str, Any]


def profile_page(found: Findings, *, title: str, subtitle: str = "") -> Page:
    """A page from the findings of `ray_mlops.monitoring.findings`."""
    return Page(
        title,
        subtitle,
        (
            Section("Overview", (*_overview(found), *_notices(found))),
            Section("Over time", _over_time(found)),
            Section("What one column tells", _power(found)),
            Section("Leak checks", tuple(_checks(found["checks"]))),
            Section("Columns", (_columns(found), *_histograms(found))),
            Section("Most frequent values", _top_values(found)),
            Section("Entities", _entities(found)),
        ),
    )


def _overview(found: Findings) -> list[Block]:
    facts = {
        "Events": found["rows"],
        "Positives": found["positives"],
        "Prevalence by count": percent(found["prevalence"], 3),
    }
    if found["prevalence_by_amount"] is not None:
        facts |= {
            "Prevalence by amount": percent(found["prevalence_by_amount"], 3),
            "Amount": found["amount"],
            "Amount of positives": found["amount_positive"],
        }
    facts |= {"First day (UTC)": found["first"][:10], "Last day": found["last"][:10]}
    facts |= {"Days with events": len(found["days"])}
    return [Facts(facts)]


def _notices(found: Findings) -> Iterable[Block]:
    """What a careful reader would have to find for herself."""
    for name in found["leaks"]:
        yield Text(
            f"{name} alone gives the label away. It is known only afterwards, or it is the label: drop it.", "bad"
        )
    yield from (Text(warning, "bad") for warning in found["checks"]["warnings"])
    if found["positives"] < 100:
        yield Text(f"Only {found['positives']} positives: every figure below is uncertain.", "warning")
    duplicates = found["duplicates"]
    if duplicates["rows"]:
        about = "" if duplicates["exact"] else "about "
        yield Text(f"{about}{duplicates['rows']:,} rows repeat another row in everything but the key.", "warning")
    for name, column in found["columns"].items():
        if column["missing_share"] > MISSING_NOTICE:
            yield Text(f"{name} is missing in {percent(column['missing_share'], 1)} of the rows.", "warning")
    for name, entity in found["entities"].items():
        if (entity["largest_share"] or 0) > CONCENTRATION_NOTICE:
            yield Text(f"One {name} has {percent(entity['largest_share'], 1)} of all events.", "warning")


# ---- time ----------------------------------------------------------------------------------------------------------


def _over_time(found: Findings) -> list[Block]:
    unit, periods = _periods(found["days"])
    shares = [{unit: row["day"], "prevalence": row["prevalence"], "measured": "by count"} for row in periods]
    if found["prevalence_by_amount"] is not None:
        money = [row for row in periods if row["prevalence_by_amount"] is not None]
        shares += [
            {unit: row["day"], "prevalence": row["prevalence_by_amount"], "measured": "by amount"} for row in money
        ]
    series = "measured" if found["prevalence_by_amount"] is not None else None
    volume = [{unit: row["day"], "events": row["rows"], "positives": row["positives"]} for row in periods]
    return [
        Chart(
            charts.line(shares, x=unit, y="prevalence", series=series, scale="temporal", percent=True),
            f"Prevalence by {unit}",
        ),
        Chart(charts.line(volume, x=unit, y="events", scale="temporal"), f"Events by {unit}"),
        *_by_clock(found["calendar"], "hour", "Prevalence by hour of the day", str),
        *_by_clock(found["calendar"], "weekday", "Prevalence by day of the week", WEEKDAYS.__getitem__),
    ]


def _by_clock(calendar: Findings, name: str, caption: str, named: Callable[[int], str]) -> Iterable[Block]:
    """Rates by a part of the clock, unless all events have the same."""
    rows = calendar[name]
    if len(rows) > 1:
        shares = [{name: named(row["value"]), "prevalence": row["rate"], "events": row["rows"]} for row in rows]
        yield Chart(charts.columns(shares, name=name, value="prevalence", percent=True), caption)


def _periods(days: Sequence[Findings]) -> tuple[str, list[dict[str, Any]]]:
    """(`day`, the days), or (`week`, sums by week, named by its Monday) where there are very many."""
    if len(days) <= MOST_DAYS:
        return "day", [dict(day) for day in days]
    weeks: dict[str, dict[str, Any]] = {}
    for day in days:
        when = date.fromisoformat(day["day"])
        monday = (when - timedelta(days=when.weekday())).isoformat()
        week = weeks.setdefault(
            monday, {"day": monday, "rows": 0, "positives": 0, "amount": 0.0, "amount_positive": 0.0}
        )
        for name in ("rows", "positives", "amount", "amount_positive"):
            week[name] += day[name]
    for week in weeks.values():
        week["prevalence"] = week["positives"] / week["rows"]
        week["prevalence_by_amount"] = week["amount_positive"] / week["amount"] if week["amount"] > 0 else None
    return "week", list(weeks.values())


# ---- power ---------------------------------------------------------------------------------------------------------


def _power(found: Findings) -> list[Block]:
    told = found["power"]
    if not told:
        return [Text("The label has one class only: no column can tell anything of it.", "bad")]
    best = [{"column": row["column"], "ROC AUC": max(row["auc"], row["auc_any_shape"])} for row in told[:20]]
    rows = [
        (row["column"], row["direction"], row["auc"], row["ap"], row["auc_any_shape"], row["ap_any_shape"])
        for row in told
    ]
    names = ("column", "suspicious when", "ROC AUC", "AP", "ROC AUC, any shape", "AP, any shape")
    return [
        Text(
            "Each column as the only input. 0.5 is chance for the ROC AUC, the prevalence "
            f"({percent(found['prevalence'], 3)}) for the average precision (AP); 1 is a leak. "
            "“Any shape” ranks groups of similar values by their own rate, so it also sees what is not monotone."
        ),
        Chart(charts.ranked(best, name="column", value="ROC AUC"), "ROC AUC of each column alone"),
        *_rate_charts(found),
        Rows(names, rows),
    ]


def _rate_charts(found: Findings) -> Iterable[Block]:
    """The rate of positives along the most telling numbers."""
    for row in found["power"][:5]:
        groups = found["columns"].get(row["column"], {}).get("rates", ())
        if len(groups) > 1:
            name = row["column"]
            points = [
                {f"{name} from": shown(group["from"]), "prevalence": group["rate"], "events": group["rows"]}
                for group in groups
            ]
            yield Chart(
                charts.columns(points, name=f"{name} from", value="prevalence", percent=True),
                f"Prevalence along {name}",
            )


def _checks(checks: Findings) -> Iterable[Block]:
    """What was looked at, also where nothing was found."""
    late = percent(checks["boundary_share"], 0)
    yield Text(
        f"A model that is tested on the last {late} of the rows must not be able to read the period off its inputs, to know "
        "entities by heart, or to learn from a stretch without labels. 0.5 is chance, 1 is a leak."
    )
    rows: list[tuple[Any, ...]] = [("early and late rows told apart by the columns", checks["time"]["auc"], None)]
    rows += [
        (f"later labels told by the earlier ones of the same {name}", entity["auc"], _overlap(entity))
        for name, entity in checks["entities"].items()
    ]
    rows.append(("label told by the key", checks["key"]["auc"], None))
    yield Rows(("check", "ROC AUC", "late rows of known entities"), rows, "– where there was too little to judge")
    if not checks["warnings"]:
        yield Text("Nothing was found.", "good")


def _overlap(entity: Findings) -> str | None:
    return None if entity["overlap"] is None else percent(entity["overlap"], 0)


# ---- columns -------------------------------------------------------------------------------------------------------


def _columns(found: Findings) -> Block:
    rows = []
    for name, column in found["columns"].items():
        quantiles = column.get("quantiles", {})
        distinct = column["distinct"] if column["distinct_exact"] else f"about {shown(column['distinct'])}"
        figures = (column.get("minimum"), quantiles.get("0.5"), column.get("mean"), column.get("std"))
        ends = (quantiles.get("0.99"), column.get("maximum"))
        rows.append((name, column["kind"], percent(column["missing_share"]), distinct, *figures, *ends))
    return Rows(("column", "kind", "missing", "distinct", "least", "median", "mean", "std", "99 %", "largest"), rows)


def _histograms(found: Findings) -> Iterable[Block]:
    drawn = {name: column for name, column in found["columns"].items() if "histogram" in column and "top" not in column}
    for name, column in list(drawn.items())[:MOST_CHARTS]:
        bins = column["histogram"]
        above = f" ({bins['above']:,} larger values are not drawn)" if bins["above"] else ""
        yield Chart(charts.histogram(bins["edges"], bins["counts"], of=name), f"{name}{above}")
    if len(drawn) > MOST_CHARTS:
        yield Text(f"The first {MOST_CHARTS} of {len(drawn)} numeric columns are drawn; profile.json has all.")


def _top_values(found: Findings) -> list[Block]:
    blocks: list[Block] = []
    for name, column in found["columns"].items():
        rows = [(row["value"], row["rows"], row["rows"] / found["rows"], row["rate"]) for row in column.get("top", ())]
        if rows:
            cells = [(shown(value), count, percent(share), percent(rate, 3)) for value, count, share, rate in rows]
            blocks.append(Rows((name, "events", "share", "prevalence"), cells))
    return blocks or [Text("No column has few enough distinct values to be listed.")]


def _entities(found: Findings) -> list[Block]:
    blocks: list[Block] = []
    for name, entity in found["entities"].items():
        if not entity["top"]:
            continue
        sampled = " (an estimate from a sample of them)" if entity["sampled"] else ""
        facts = {
            f"Distinct {name}{sampled}": entity["distinct"],
            "Events each, mean": entity["events"]["mean"],
            "median": entity["events"]["0.5"],
            "largest": entity["events"]["1"],
            "Share of the largest": percent(entity["largest_share"], 3),
            "With a positive": percent(entity["with_positives"], 1),
        }
        top = [(str(row["value"]), row["rows"], row["positives"], percent(row["rate"], 2)) for row in entity["top"]]
        blocks += [
            Facts(facts),
            Chart(charts.columns(entity["sizes"], name="events", value="entities"), f"Events per {name}"),
            Rows((name, "events", "positives", "prevalence"), top, f"The busiest {name}"),
        ]
    return blocks or [Text("The schema names no entities.")]
