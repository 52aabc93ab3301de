"""The pages in a real browser: all charts drawn, nothing on the console, nothing asked of any network."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from ray_mlops.reports import charts, page
from ray_mlops.reports.lineage import picture
from ray_mlops.reports.page import Chart, Drawing, Facts, Rows, Section, Text
from tests.reports.test_run_page import RECORDS

NUMBERS = np.random.default_rng(0).random(60).tolist()
ROWS = [
    {"day": f"2024-0{1 + place // 28}-{1 + place % 28:02d}", "x": place, "y": y, "kind": "ab"[place % 2]}
    for place, y in enumerate(NUMBERS[:56])
]
BARS = [
    {"name": f"a long name of column {place}", "low": y / 2, "y": y, "high": y * 1.5}
    for place, y in enumerate(NUMBERS[:8])
]
CHARTS = (
    Chart(charts.line(ROWS, x="day", y="y", series="kind", scale="temporal", percent=True), "Lines over time"),
    Chart(charts.histogram(list(range(len(NUMBERS) + 1)), NUMBERS, of="amount"), "A histogram"),
    Chart(charts.ranked(BARS, name="name", value="y"), "Ranked"),
    Chart(charts.columns(BARS, name="name", value="y", percent=True), "Columns"),
    Chart(charts.intervals(BARS, name="name", value="y", low="low", high="high"), "Intervals"),
    Chart(charts.swarm(ROWS, name="kind", value="y", shade="y", tips=("x",)), "A swarm"),
    Chart(charts.band(ROWS[:8], x="x", y="y", low="x", high="y"), "A band"),
)
TABLE = Rows([f"a wide column {place}" for place in range(12)], [tuple(NUMBERS[:12])] * 40, "A wide table")
REPORT = page.Page(
    "A report", "of everything", (
        Section("Facts", (Facts({"events": 1_754_155, "share": 0.00837}), Text("careful", "warning"))),
        Section("Charts", CHARTS),
        Section("Tables", (TABLE,)),
        Section("Stages", (Drawing(picture(RECORDS, {"decide": "decide.html"}), "Lineage"),)),
    ),
)  # fmt: skip
BAR = ".chart svg path[aria-roledescription='bar']"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pages") / "report.html"
    path.write_text(page.render(REPORT))
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, or else the one that Playwright installed."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


class Visit:
    """A page that was opened, with what it asked for and what it complained of."""

    def __init__(self, browser: Browser, address: str, *, width: int = 1280, scheme: str = "light") -> None:
        dark = "dark" if scheme == "dark" else "light"
        self.page: Page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=dark)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_function(
            "document.querySelectorAll('.chart svg').length === document.querySelectorAll('figure').length"
        )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_a_page_draws_and_asks_nothing(browser, report, width, scheme):
    visit = Visit(browser, report, width=width, scheme=scheme)
    assert visit.complaints == [] and visit.requests == [report]
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = visit.page.eval_on_selector_all(".chart svg", "all => all.map(one => one.getBoundingClientRect().width)")
    assert len(sizes) == len(CHARTS) and all(200 < size <= width for size in sizes)
    visit.page.close()


def test_colours_follow_the_reader(browser, report):
    inks = []
    for scheme in ("light", "dark"):
        visit = Visit(browser, report, scheme=scheme)
        paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        bar = visit.page.locator(BAR).first.get_attribute("fill")
        inks.append((paper, bar))
        visit.page.close()
    assert inks[0][0] != inks[1][0] and inks[0][1] != inks[1][1]


def test_colours_change_while_the_page_is_open(browser, report):
    visit = Visit(browser, report)
    bar = visit.page.locator(BAR).first
    before = bar.get_attribute("fill")
    visit.page.emulate_media(color_scheme="dark")
    changed = "([name, before]) => document.querySelector(name)?.getAttribute('fill') !== before"
    visit.page.wait_for_function(changed, arg=[BAR, before])
    assert visit.complaints == []
    visit.page.close()


def test_everything_can_be_reached_by_keyboard(browser, report):
    visit = Visit(browser, report)
    reached = set()
    for _ in range(30):
        visit.page.keyboard.press("Tab")
        reached.add(visit.page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))
    assert {"A.skip", "A.", "SUMMARY.", "DIV.table"} <= reached
    visit.page.locator("summary").first.focus()
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("details").first.locator("table").is_visible()
    visit.page.close()


def test_charts_have_words_for_those_who_do_not_see_them(browser, report):
    visit = Visit(browser, report)
    labels = visit.page.eval_on_selector_all(
        "figure [aria-label]", "all => all.map(one => one.getAttribute('aria-label'))"
    )
    assert {chart.caption for chart in CHARTS} <= set(labels)
    visit.page.close()


def test_figures_are_there_without_scripts(browser, report):
    context = browser.new_context(java_script_enabled=False)
    still = context.new_page()
    still.goto(report)
    assert still.locator("noscript").count() == 1
    assert still.locator("figure details table").count() == len(CHARTS)
    assert "switched off" in still.inner_text("body")
    context.close()


def test_a_report_is_small_enough_to_send(report):
    assert Path(report.removeprefix("file://")).stat().st_size < 2_000_000
