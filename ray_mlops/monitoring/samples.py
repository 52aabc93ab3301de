"""Requests that show what an alarm is about, by their ids in the capture log."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from ray_mlops.contract import LABEL_LINE
from ray_mlops.monitoring.baseline import Baseline, Distribution
from ray_mlops.monitoring.data_quality import MISSING, OUTSIDE, UNANSWERED, UNSEEN
from ray_mlops.monitoring.readings import Reading
from ray_mlops.platform import segments

Line = Mapping[str, Any]


class Telling(NamedTuple):
    """What is looked for, in words, and whether a line of the log is such a request."""

    words: str
    holds: Callable[[Line], bool]


def find(
    folder: str, digest: str, span: tuple[int, int], wanted: Mapping[str, Telling], most: int
) -> dict[str, tuple[str, ...]]:
    """Up to `most` ids of requests that a version answered in the `span` of time, for each name that is wanted."""
    found: dict[str, list[str]] = {name: [] for name in wanted}
    start, end = span
    for _, content in segments.lines(folder, after=start) if folder and wanted else ():
        line = _parsed(content)
        if line.get("kind") == LABEL_LINE or line.get("digest") != digest or not start <= _seconds(line) < end:
            continue
        for name, telling in wanted.items():
            if len(found[name]) < most and telling.holds(line):
                found[name].append(str(line.get("id", line.get("request_id"))))
    return {name: tuple(ids) for name, ids in found.items()}


def misjudged(folder: str, digest: str, span: tuple[int, int], most: int) -> tuple[str, tuple[str, ...]]:
    """Answers that were most wrong, of those whose label came in the `span` of time, and what they are in words: positives that
    a version scored lowest, or pictures of which it was surest."""
    start, end = span
    labels: dict[Any, Any] = {}
    answers: dict[Any, tuple[float, str]] = {}
    for _, content in segments.lines(folder) if folder else ():
        line = _parsed(content)
        if line.get("kind") == LABEL_LINE:
            if start <= _seconds(line) < end:
                labels[line["id"]] = line["label"]
        elif line.get("digest") == digest and "id" in line and "degraded" not in line:
            answers.setdefault(line["id"], (line["score"], line["decision"]))
    found = [(*answers[key], key, labels[key]) for key in labels.keys() & answers.keys()]
    if any(isinstance(label, str) for label in labels.values()):
        wrong = [(-score, str(key)) for score, told, key, label in found if told != label]
        return "another class, told most surely", tuple(key for _, key in sorted(wrong)[:most])
    missed = [(score, str(key)) for score, _, key, label in found if label]
    return "positives that scored lowest", tuple(key for _, key in sorted(missed)[:most])


def telling(reading: Reading, before: Baseline, now: Baseline) -> Telling | None:
    """What shows a reading; None where no single request does."""
    name = reading.name
    if name == UNANSWERED:
        return Telling("answered without the model", lambda line: "degraded" in line)
    if name == "score":
        return _grown("score", before.score, now.score, lambda line: line.get("score"))
    if name == "decisions":
        grown = _most_grown(before.decisions, now.decisions)
        return Telling(f"decided {grown}", lambda line: line.get("decision") == grown)
    feature, column = name.removeprefix("feature "), name.removeprefix("column ")
    if reading.monitor == "data drift" and feature in before.features:
        return _grown(feature, before.features[feature], now.features[feature], _feature(feature))
    if reading.monitor == "data drift" and column in before.inputs:
        grown = _most_grown(before.inputs[column].counts, now.inputs[column].counts)
        return Telling(f"{column} is {grown}", lambda line: str(_inputs(line).get(column)) == grown)
    if reading.monitor == "bias drift":
        return _selected(name, before)
    return _unsound(name, before) if reading.monitor == "data quality" else None


def _unsound(name: str, before: Baseline) -> Telling | None:
    column = name.removesuffix(UNSEEN)
    if column != name:
        known = before.inputs[column].counts
        return Telling(f"{column} is new", lambda line: str(_inputs(line).get(column)) not in known)
    column = name.removesuffix(MISSING)
    if column != name:
        read = _feature(column) if column in before.features else _input(column)
        return Telling(f"{column} is missing", lambda line: _none(line, read))
    column = name.removesuffix(OUTSIDE)
    if column == name:
        return None
    read, edges = _feature(column), before.features[column].edges
    words = f"{column} is below {edges[0]:.4g} or above {edges[-1]:.4g}"
    return Telling(words, lambda line: (value := read(line)) is not None and not edges[0] <= value < edges[-1])


def _grown(name: str, before: Distribution, now: Distribution, read: Callable[[Line], Any]) -> Telling:
    """Values in the bin whose share has grown most."""
    place = max(range(len(now.cells)), key=lambda cell: _growth(before.cells, now.cells, cell))
    if place == len(now.counts):
        return Telling(f"{name} is missing", lambda line: _none(line, read))
    low = now.edges[place - 1] if place else -math.inf
    high = now.edges[place] if place < len(now.edges) else math.inf
    between = f"below {high:.4g}" if not place else f"from {low:.4g}{f' to {high:.4g}' if high < math.inf else ' up'}"
    return Telling(f"{name} is {between}", lambda line: (value := read(line)) is not None and low <= value < high)


def _growth(before: Sequence[int], now: Sequence[int], cell: int) -> float:
    return now[cell] / max(sum(now), 1) - before[cell] / max(sum(before), 1)


def _most_grown(before: Mapping[str, int], now: Mapping[str, int]) -> str:
    names = sorted({*before, *now})
    cells = [[part.get(name, 0) for name in names] for part in (before, now)]
    return max(names, key=lambda name: _growth(cells[0], cells[1], names.index(name)), default="")


def _selected(name: str, before: Baseline) -> Telling | None:
    """Those of a group that were selected."""
    groups = {f"{column} {value}": (column, value) for column, values in before.slices.items() for value in values}
    if name not in groups:
        return None
    column, value = groups[name]
    read = _input(column)
    return Telling(
        f"{name}, selected",
        lambda line: before.slice_of(column, read(line)) == value and line.get("decision") != before.unselected,
    )


def _feature(name: str) -> Callable[[Line], Any]:
    return lambda line: line.get("features", {}).get(name)


def _input(name: str) -> Callable[[Line], Any]:
    return lambda line: _inputs(line).get(name)


def _inputs(line: Line) -> Mapping[str, Any]:
    return line.get("inputs", {})


def _none(line: Line, read: Callable[[Line], Any]) -> bool:
    return "degraded" not in line and read(line) is None  # what was answered without the model was not looked at


def _parsed(content: bytes) -> Line:
    try:
        told = orjson.loads(content)
    except orjson.JSONDecodeError:  # a replica is writing it, or was killed while it did
        return {}
    return told if isinstance(told, dict) else {}


def _seconds(line: Line) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()
