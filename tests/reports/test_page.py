import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ray_mlops.errors import ConfigError
from ray_mlops.reports import charts
from ray_mlops.reports.page import TABLE_LIMIT, Chart, Facts, Link, Page, Rows, Section, Text, render

EVIL = "</script><script>alert('x')</script>&\"<img src=x onerror=alert(1)>"


class Reader(HTMLParser):
    """Collects tags with their attributes, the text of each, and whether all are closed in order."""

    EMPTY = ("meta", "link", "img", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag and text.strip()]


def page(*blocks) -> Page:
    return Page("A page", "about it", (Section("Part", blocks),))


def line(**changes) -> Chart:
    return Chart(
        charts.line([{"x": 1, "y": 2.5}, {"x": 2, "y": 3.5}], x="x", y="y"), **{"caption": "A line", **changes}
    )


def test_every_text_is_escaped():
    blocks = (Text(EVIL, "bad"), Facts({EVIL: EVIL}), Rows((EVIL,), [(EVIL,)], EVIL), line(caption=EVIL))
    html = render(Page(EVIL, EVIL, (Section(EVIL, blocks),)))
    reader = Reader(html)
    assert not reader.of("img") and not reader.open
    assert len(reader.of("script")) == 3  # the chart's data, the library, the page's own
    assert EVIL in reader.text("h1") and EVIL in reader.text("td")


def test_data_cannot_leave_its_script_element():
    chart = Chart(charts.line([{"x": EVIL, "y": 1}], x="x", y="y"), "evil data")
    reader = Reader(render(page(chart)))
    spec = next(json.loads(text) for text in reader.text("script") if text.startswith("{"))
    assert spec["data"]["values"][0]["x"] == EVIL


def test_a_page_needs_no_network():
    html = render(page(line()))
    reader = Reader(html)
    addresses = [value for _, found in reader.tags for name, value in found.items() if name in ("src", "href")]
    assert all(str(address).startswith(("#", "data:")) for address in addresses)
    policy = next(found["content"] for found in reader.of("meta") if found.get("http-equiv"))
    assert "default-src 'none'" in str(policy)
    assert len(html) < 2_000_000


def test_a_page_without_charts_has_no_script():
    html = render(page(Text("words"), Facts({"rows": 3})))
    assert not Reader(html).of("script") and len(html) < 10_000


def test_the_structure_is_semantic():
    reader = Reader(render(Page("t", "s", tuple(Section(name, (Text("x"),)) for name in "abc"))))
    tags = {tag for tag, _ in reader.tags}
    assert {"header", "nav", "main", "section", "h1", "h2"} <= tags
    assert reader.of("html") == [{"lang": "en"}]
    named = {found["id"] for found in reader.of("section")}
    assert named == {str(found["href"])[1:] for found in reader.of("a") if found.get("href") != "#content"}


def test_figures_of_a_chart_are_there_as_a_table():
    reader = Reader(render(page(line())))
    assert reader.text("th") == ["x", "y"] and reader.text("td") == ["1", "2.5", "2", "3.5"]
    many = Chart(charts.line([{"x": x, "y": x} for x in range(TABLE_LIMIT + 5)], x="x", y="y"), "long")
    reader = Reader(render(page(many)))
    assert len(reader.text("td")) == 2 * TABLE_LIMIT
    assert any(f"first {TABLE_LIMIT} of {TABLE_LIMIT + 5}" in text for text in reader.text("caption"))


def test_numbers_stand_right_and_tables_can_be_scrolled_by_keyboard():
    html = render(page(Rows(("name", "n", "mixed"), [("a", None, 1), ("b", 2, "x")])))
    reader = Reader(html)
    assert [found["class"] for found in reader.of("th")] == ["word", "number", "word"]
    region = next(found for found in reader.of("div") if found.get("class") == "table")
    assert region["tabindex"] == "0" and region["role"] == "region" and region["aria-label"]


def test_what_json_does_not_have_becomes_null():
    values = [{"x": np.int64(1), "y": np.float32(2.5)}, {"x": 2, "y": float("nan")}, {"x": 3, "y": np.float64("inf")}]
    reader = Reader(render(page(Chart(charts.line(values, x="x", y="y"), "holes"))))
    spec = next(json.loads(text) for text in reader.text("script") if text.startswith("{"))
    assert spec["data"]["values"] == [{"x": 1, "y": 2.5}, {"x": 2, "y": None}, {"x": 3, "y": None}]


def test_an_altair_chart_can_be_shown():
    import altair

    data = altair.Data(values=[{"x": 1, "y": 2}])
    html = render(page(Chart(altair.Chart(data).mark_point().encode(x="x:Q", y="y:Q"), "altair")))
    assert re.search(r'"description": ?"altair"', html)
    assert Reader(html).text("td") == ["1", "2"]


def test_links_lead_only_where_links_may_lead():
    html = render(page(Rows(("page",), [(Link("report", "../../artifacts/x/report.html?a=1&b=2"),)])))
    assert {"href": "../../artifacts/x/report.html?a=1&b=2"} in Reader(html).of("a")
    with pytest.raises(ConfigError, match="javascript"):
        Link("click", "javascript:alert(1)")


def test_the_same_page_is_the_same_text():
    assert render(page(line())) == render(page(line()))
