"""Vega-Lite specifications of the few chart forms that the reports use.

Each function takes plain rows and gives a mapping for `page.Chart`; width follows the page, colours its style.
`percent` writes the values as percentages.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

Row = Mapping[str, Any]
Spec = dict[str, Any]
Scale = Literal["quantitative", "temporal"]

HEIGHT = 220
BAR_HEIGHT = 22
PERCENT = ".3~p"
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"


def histogram(edges: Sequence[float], counts: Sequence[float], *, of: str) -> Spec:
    """Bars over the bins `[edges[i], edges[i + 1])`."""
    rows = [{"from": a, "to": b, "count": c} for a, b, c in zip(edges[:-1], edges[1:], counts, strict=True)]
    encoding = {
        "x": {**_number("from", title=of), "scale": {"zero": False, "nice": False}},
        "x2": {"field": "to"},
        "y": _number("count"),
        "y2": {"datum": 0},
        "tooltip": _tooltips(("from", "to", "count")),
    }
    return _spec(rows) | {"mark": {"type": "rect", "stroke": None}, "encoding": encoding}


def line(
    rows: Sequence[Row],
    *,
    x: str,
    y: str,
    series: str | None = None,
    scale: Scale = "quantitative",
    percent: bool = False,
) -> Spec:
    """Lines through `(x, y)`, one for each value of `series`; a temporal x is an ISO date or time in UTC."""
    encoding: Spec = {
        "x": _across(x, scale),
        "y": _number(y, percent=percent),
        "tooltip": _tooltips((series, x, y), percent),
    }
    if series:
        encoding["color"] = _series(rows, series)
    return _spec(rows) | {"mark": {"type": "line", "strokeWidth": 1.6}, "encoding": encoding}


def band(rows: Sequence[Row], *, x: str, y: str, low: str, high: str, scale: Scale = "quantitative") -> Spec:
    """A line inside its interval `[low, high]`."""
    area = {"mark": {"type": "area", "opacity": 0.2}, "encoding": {"y": _number(low, title=y), "y2": _field(high)}}
    middle = {"mark": {"type": "line", "strokeWidth": 1.6}, "encoding": {"y": _number(y)}}
    encoding = {"x": _across(x, scale), "tooltip": _tooltips((x, y, low, high))}
    return _spec(rows) | {"encoding": encoding, "layer": [area, middle]}


def ranked(rows: Sequence[Row], *, name: str, value: str, series: str | None = None, percent: bool = False) -> Spec:
    """Horizontal bars in the order of the rows, one for each name, side by side for each value of `series`."""
    axis = {"labelLimit": 170, "ticks": False}
    encoding: Spec = {
        "y": {**_names(rows, name), "axis": axis},
        "x": _number(value, percent=percent),
        "tooltip": _tooltips((name, series, value), percent),
    }
    if series:
        encoding |= {"color": _series(rows, series), "yOffset": {**_field(series), "sort": _order(rows, series)}}
    return _spec(rows, height=BAR_HEIGHT * max(len(rows), 1)) | {"mark": {"type": "bar"}, "encoding": encoding}


def columns(rows: Sequence[Row], *, name: str, value: str, series: str | None = None, percent: bool = False) -> Spec:
    """Upright bars in the order of the rows, one for each name, side by side for each value of `series`."""
    axis = {"labelAngle": 0, "ticks": False, "labelOverlap": True, "title": name}
    encoding: Spec = {
        "x": {**_names(rows, name), "axis": axis},
        "y": _number(value, percent=percent),
        "tooltip": _tooltips((name, series, value), percent),
    }
    if series:
        encoding |= {"color": _series(rows, series), "xOffset": {**_field(series), "sort": _order(rows, series)}}
    return _spec(rows) | {"mark": {"type": "bar"}, "encoding": encoding}


def intervals(rows: Sequence[Row], *, name: str, value: str, low: str, high: str) -> Spec:
    """One point with its interval for each name, in the order of the rows; the axis need not begin at 0."""
    scale = {"scale": {"zero": False}}
    span = {"x": {**_number(low, title=value), **scale}, "x2": _field(high)}
    encoding = {
        "y": {**_names(rows, name), "axis": {"labelLimit": 170, "ticks": False}},
        "tooltip": _tooltips((name, value, low, high)),
    }
    layers = [
        {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": span},
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {"x": _number(value) | scale},
        },
    ]
    return _spec(rows, height=BAR_HEIGHT * max(len(rows), 1)) | {"encoding": encoding, "layer": layers}


def swarm(rows: Sequence[Row], *, name: str, value: str, shade: str, tips: Sequence[str] = ()) -> Spec:
    """Points of many rows beside a zero line, a strip for each name; coloured by `shade` (0 to 1) from blue to red."""
    colour = {"scale": {"domain": [0, 0.5, 1], "range": ["#3b6fd4", "#9a8fb0", "#d9452b"]}}
    encoding = {
        "y": {**_names(rows, name), "axis": {"labelLimit": 170, "ticks": False}},
        "x": _number(value),
        "yOffset": {"field": "apart", "type": "quantitative", "scale": {"domain": [-1.3, 1.3]}},
        "color": {**_field(shade), "type": "quantitative", **colour, "legend": {"title": shade, "gradientLength": 120}},
        "tooltip": _tooltips((name, *tips, value)),
    }
    # Where a point stands within its strip means nothing: a golden-ratio step keeps neighbours apart, the same every time.
    apart = {"calculate": "2 * ((datum.__place * 0.618034) % 1) - 1", "as": "apart"}
    place = {"window": [{"op": "row_number", "as": "__place"}]}
    mark = {"type": "circle", "size": 16, "opacity": 0.75}
    height = 30 * max(len(_order(rows, name)), 1)
    return _spec(rows, height=height) | {"transform": [place, apart], "mark": mark, "encoding": encoding}


def matrix(rows: Sequence[Row], *, down: str, across: str, value: str, shade: str) -> Spec:
    """A square for each pair `(down, across)`: the darker, the higher `shade` (0 to 1); `value` is written inside."""
    names = {"type": "nominal", "scale": {"padding": 0}}
    order = _order(rows, down)
    short = all(len(str(name)) <= 4 for name in order)
    axis = {"labelLimit": 110, "ticks": False, "labelAngle": 0 if short else -40}
    encoding = {
        "y": {**_field(down), **names, "sort": order, "title": down, "axis": {"labelLimit": 110, "ticks": False}},
        "x": {**_field(across), **names, "sort": order, "title": across, "axis": axis},
        "tooltip": _tooltips((down, across, value, shade)),
    }
    colour = {"scale": {"domain": [0, 1], "scheme": "blues"}, "legend": None}
    squares = {"mark": {"type": "rect"}, "encoding": {"color": {**_field(shade), "type": "quantitative", **colour}}}
    light = {"condition": {"test": f"datum[{json.dumps(shade)}] > 0.5", "value": "white"}, "value": "#1d2733"}
    words = {"mark": {"type": "text", "fontSize": 11}, "encoding": {"text": _field(value), "color": light}}
    size = max(HEIGHT, min(34 * len(order), 900))
    return _spec(rows, height=size) | {"encoding": encoding, "layer": [squares, words]}


def parallel(rows: Sequence[Row], *, axis: str, height: str, line: str, shade: str) -> Spec:
    """Parallel coordinates: one line for each value of `line` over upright axes, at `height` (0 to 1) on each `axis`.

    The darker a line, the higher its `shade`; a row's `value` is what the pointer shows.
    """
    across = {**_field(axis), "type": "nominal", "title": None, "sort": _order(rows, axis)}
    encoding = {
        "x": {**across, "axis": {"labelAngle": 0, "grid": True, "domain": False, "labelOverlap": True}},
        "y": {**_number(height), "axis": None, "scale": {"domain": [0, 1]}},
        "detail": {**_field(line), "type": "nominal"},
        "color": {**_number(shade), "scale": {"scheme": "blues", "zero": False}},
        "tooltip": _tooltips((line, axis, "value", shade)),
    }
    return _spec(rows) | {"mark": {"type": "line", "strokeWidth": 1.6, "point": True}, "encoding": encoding}


def _spec(rows: Sequence[Row], height: int = HEIGHT) -> Spec:
    return {"$schema": SCHEMA, "width": "container", "height": height, "data": {"values": [dict(row) for row in rows]}}


def _field(name: str) -> Spec:
    """A field by its name as it is: dots and brackets are no path into the row."""
    escaped = name.replace("\\", "\\\\").replace(".", "\\.").replace("[", "\\[").replace("]", "\\]")
    return {"field": escaped}


def _number(name: str, *, title: str | None = None, percent: bool = False) -> Spec:
    axis = {"axis": {"format": PERCENT}} if percent else {}
    return {**_field(name), "type": "quantitative", "title": title or name, **axis}


def _across(name: str, scale: Scale) -> Spec:
    if scale == "temporal":
        return {**_field(name), "type": "temporal", "title": None, "scale": {"type": "utc"}, "axis": {"grid": False}}
    return _number(name)


def _names(rows: Sequence[Row], name: str) -> Spec:
    padding = {"paddingInner": 0.25, "paddingOuter": 0.1}
    return {**_field(name), "type": "nominal", "title": None, "sort": _order(rows, name), "scale": padding}


def _series(rows: Sequence[Row], name: str) -> Spec:
    """Colours in the order in which the series come."""
    return {**_field(name), "type": "nominal", "sort": _order(rows, name)}


def _order(rows: Sequence[Row], name: str) -> list[Any]:
    return list(dict.fromkeys(row[name] for row in rows))


def _tooltips(names: Iterable[str | None], percent: bool = False) -> list[Spec]:
    """All named fields; with `percent` the last one is written as a percentage."""
    fields: list[Spec] = [{**_field(name), "title": name} for name in names if name]
    if percent:
        fields[-1] |= {"type": "quantitative", "format": PERCENT}
    return fields
