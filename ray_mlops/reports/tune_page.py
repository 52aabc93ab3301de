"""The page of a search: which hyperparameters led where, how the trials learnt, and all trials in a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from ray_mlops.reports import charts
from ray_mlops.reports.numerals import seconds, shown
from ray_mlops.reports.page import Block, Chart, Facts, Page, Rows, Section, Text

Line = Mapping[str, Any]
_CURVES = 30


def tune_page(trials: Sequence[Line], metric: str, *, subtitle: str = "") -> Page:
    """A page from the lines of a search's log (`trial`, `status`, `value`, `settings`, `curve`, `seconds`, `error`)."""
    sections = [Section("Outcome", _outcome(trials, metric))]
    judged = [trial for trial in trials if _reached(trial) is not None]
    if len(judged) > 1:
        names = [name for name in judged[0]["settings"] if len({shown(_cell(t, name)) for t in judged}) > 1]
        picture = charts.parallel(
            _points(judged, names, metric), axis="axis", height="height", line="trial", shade=metric
        )
        words = f"Each line is a trial, from its hyperparameters to its {metric}; the darker, the better"
        sections.append(Section("Hyperparameters", [Chart(picture, words)]))
    if curves := _curves(judged, metric):
        spec = charts.line(curves, x="report", y=metric, series="trial")
        sections.append(Section("Learning curves", [Chart(spec, f"{metric} of the validation part, report by report")]))
    sections.append(Section("Trials", [_table(trials, metric)]))
    return Page("Search", subtitle, tuple(sections))


def _outcome(trials: Sequence[Line], metric: str) -> list[Block]:
    complete = [trial for trial in trials if trial["value"] is not None and trial["status"] == "complete"]
    counts = {status: sum(trial["status"] == status for trial in trials) for status in _STATES}
    facts: dict[str, Any] = {words: counts[status] for status, words in _STATES.items() if counts[status]}
    facts["Time of all trials"] = seconds(sum(trial["seconds"] for trial in trials))
    blocks: list[Block] = [Facts(facts)]
    if complete:
        best = max(complete, key=lambda trial: (trial["value"], -trial["trial"]))
        blocks.append(Text(f"Trial {best['trial']} is the best: {metric} {shown(best['value'])}", "good"))
        blocks.append(Rows(("hyperparameter", "value"), [(n, shown(v)) for n, v in best["settings"].items()]))
    blocks += [Text(f"Trial {trial['trial']}: {trial['error']}", "bad") for trial in trials if trial["error"]][:5]
    return blocks


_STATES = {
    "complete": "Complete",
    "stopped": "Stopped early",
    "paused": "Turns of a population",
    "failed": "Failed",
    "unfinished": "Out of time",
}


def _reached(trial: Line) -> float | None:
    if trial["error"]:
        return None
    return trial["value"] if trial["value"] is not None else next(iter(reversed(trial["curve"])), None)


def _cell(trial: Line, name: str) -> Any:
    return trial["settings"][name]


def _points(trials: Sequence[Line], names: Sequence[str], metric: str) -> list[dict[str, Any]]:
    """Where each trial crosses each axis: `height` from 0 to 1 between the least and the largest value on it."""
    rows = []
    for name in [*names, metric]:
        values = [_reached(trial) if name == metric else _cell(trial, name) for trial in trials]
        heights = _heights(values)
        for trial, value, height in zip(trials, values, heights, strict=True):
            rows.append(
                {
                    "trial": trial["trial"],
                    "axis": name,
                    "value": shown(value),
                    "height": height,
                    metric: _reached(trial),
                }
            )
    return rows


def _heights(values: Sequence[Any]) -> list[float]:
    """Numbers in proportion; anything else in the order of its text, evenly."""
    if all(isinstance(value, (int, float)) for value in values):
        low, high = min(values), max(values)
        return [(value - low) / (high - low) if high > low else 0.5 for value in values]
    order = sorted({shown(value) for value in values})
    return [order.index(shown(value)) / max(len(order) - 1, 1) for value in values]


def _curves(trials: Sequence[Line], metric: str) -> list[dict[str, Any]]:
    """The curves of the best trials."""
    best = sorted(trials, key=lambda trial: -(_reached(trial) or 0.0))[:_CURVES]
    chosen = [trial for trial in trials if trial in best and len(trial["curve"]) > 1]
    return [
        {"report": report, metric: value, "trial": str(trial["trial"])}
        for trial in chosen
        for report, value in enumerate(trial["curve"], start=1)
    ]


def _table(trials: Sequence[Line], metric: str) -> Rows:
    names = list(trials[0]["settings"]) if trials else []
    rows = [
        (
            trial["trial"],
            trial["status"],
            len(trial["curve"]),
            _reached(trial),
            seconds(trial["seconds"]),
            *(shown(_cell(trial, name)) for name in names),
        )
        for trial in trials
    ]
    return Rows(("trial", "state", "reports", metric, "time", *names), rows)
