import pytest
import vl_convert

from ray_mlops.reports import charts

POINTS = [{"x": x, "y": x / 10, "low": x / 20, "high": x / 5, "kind": kind} for x in range(4) for kind in ("a", "b")]
DAYS = [{"day": f"2024-01-0{day}", "share": day / 100} for day in range(1, 5)]

SPECS = {
    "histogram": charts.histogram([0.0, 1.0, 2.5], [3, 4], of="amount"),
    "line": charts.line(POINTS, x="x", y="y", series="kind"),
    "time": charts.line(DAYS, x="day", y="share", scale="temporal", percent=True),
    "band": charts.band(POINTS[::2], x="x", y="y", low="low", high="high"),
    "ranked": charts.ranked(POINTS, name="x", value="y", series="kind"),
    "columns": charts.columns(POINTS, name="x", value="y", series="kind", percent=True),
    "intervals": charts.intervals(POINTS[::2], name="x", value="y", low="low", high="high"),
    "empty": charts.line([], x="x", y="y"),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_specification_draws(name):
    assert vl_convert.vegalite_to_svg(SPECS[name]).startswith("<svg")


def marks(spec: dict) -> str:
    return vl_convert.vegalite_to_svg(spec)


def test_bars_come_in_the_order_of_the_rows():
    svg = marks(charts.ranked([{"n": name, "v": 1} for name in ("zebra", "ant", "mole")], name="n", value="v"))
    assert svg.index(">zebra<") < svg.index(">ant<") < svg.index(">mole<")


def test_a_name_with_dots_and_brackets_is_one_field():
    rows = [{"a.b[0]": "left", "v.1": 3}, {"a.b[0]": "right", "v.1": 5}]
    svg = marks(charts.columns(rows, name="a.b[0]", value="v.1"))
    assert ">left<" in svg and ">right<" in svg and "undefined" not in svg


def test_a_day_is_drawn_as_that_day_everywhere():
    svg = marks(charts.line(DAYS, x="day", y="share", scale="temporal"))
    assert "Jan 02" in svg or "Tue 02" in svg
