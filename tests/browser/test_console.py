"""The console in a real browser: nothing on its console, nothing asked of another host, by keyboard and on a phone."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.applications import Starlette
from starlette.routing import Mount

from ray_mlops.serving.access import keys
from ray_mlops.ui.app import application
from ray_mlops.ui.parts import Console
from ray_mlops.ui.sessions import Sessions
from ray_mlops.ui.tasks import Tasks
from tests.serving.access.live import live
from tests.serving.protocols import served
from tests.ui.furnished import RUN, furnish

PLACES = (
    "/", "/runs", f"/runs/{RUN}", "/models", "/models/small/1", "/models/small/2", "/endpoints", "/endpoints/small",
    "/drift", "/tasks", "/files/artifacts/decide/d1/report.html",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("root")
    folder = tmp_path_factory.mktemp("served")
    with live(Starlette(routes=[Mount("/small", served.transaction_app(folder))])) as url:
        furnish(root, f"{url}/small")
        yield root


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    with live(application(Console(str(root), Sessions(str(root)), Tasks()))) as url:
        yield url


class Visit:
    """A browser of its own, what it complained of, and which addresses it asked."""

    def __init__(self, browser: Browser, *, width: int = 1280, scheme: str = "light") -> None:
        dark = "dark" if scheme == "dark" else "light"
        self.page: Page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=dark).new_page()
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_every_place_is_whole_on_any_screen(browser: Browser, address: str, width: int, scheme: str) -> None:
    visit = Visit(browser, width=width, scheme=scheme)
    for place in PLACES:
        answer = visit.page.goto(address + place)
        assert answer is not None and answer.status == 200, place
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, place
        paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 23, 27)" if scheme == "dark" else "rgb(251, 251, 250)"), place
    assert visit.complaints == [] and visit.hosts - {""} == {urlsplit(address).netloc}
    visit.page.context.close()


def test_an_endpoint_that_answers_is_shown_so(browser: Browser, address: str) -> None:
    visit = Visit(browser)
    visit.page.goto(f"{address}/endpoints/small")
    assert "It answers." in visit.page.inner_text("main")
    visit.page.context.close()


def test_a_version_is_promoted_and_taken_back_by_keyboard(browser: Browser, address: str) -> None:
    visit = Visit(browser)
    visit.page.goto(f"{address}/models/small/2")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.className") == "skip"
    for _ in range(20):
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate("document.activeElement.name") == "reason":
            break
    visit.page.keyboard.type("better on phones")
    visit.page.keyboard.press("Enter")
    visit.page.get_by_role("status").wait_for()
    assert "approved champion" in visit.page.inner_text("main") and "better on phones" in visit.page.inner_text("main")
    visit.page.get_by_role("textbox", name="Why").fill("worse after all")
    visit.page.get_by_role("button", name="Reject").click()
    visit.page.get_by_text("It is rejected.").wait_for()
    visit.page.goto(f"{address}/models/small/1")
    assert "approved champion" in visit.page.inner_text("main")
    assert visit.complaints == []
    visit.page.context.close()


def test_a_key_opens_it(browser: Browser, tmp_path: Path) -> None:
    _, text = keys.create(str(tmp_path), "ops", ["admin"])
    with live(application(Console(str(tmp_path), Sessions(str(tmp_path)), Tasks()))) as address:
        visit = Visit(browser, width=390)
        visit.page.goto(f"{address}/drift")
        visit.page.locator("input:focus").wait_for()  # the field has it without a click
        visit.page.keyboard.type(text)
        visit.page.keyboard.press("Enter")
        visit.page.get_by_role("button", name="Sign out ops").click()
        visit.page.get_by_role("button", name="Sign in").wait_for()
        assert visit.complaints == []
        visit.page.context.close()
