"""The page at `/docs` in a real browser that reaches no other host: every route that answers is tried out on it."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.applications import Starlette
from starlette.routing import Mount

from ray_mlops.serving.access import keys, opening
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.access.network import Network
from tests.serving.access.live import live
from tests.serving.protocols import served

# Not the name of this machine: Swagger UI behaves better for those than for others.
HOST = "endpoint.example"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    rules = f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", rules])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    mounted = [Mount("/small", served.transaction_app(folder)), Mount("/shades", served.image_app(folder))]
    with live(Starlette(routes=mounted)) as url:
        yield url.replace("127.0.0.1", HOST)


class Visit:
    """A page that was opened, what it complained of, and which hosts it asked."""

    def __init__(self, page: Page) -> None:
        self.page, self.complaints, self.hosts = page, [], set()
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def tried(self, path: str, shown: str = "") -> tuple[int, dict]:
        """What the page gets when it sends a route its example, the one called `shown` where there are several."""
        block = self.page.locator(f'.opblock:has([data-path="{path}"])').first
        block.locator(".opblock-summary-control").click()
        if shown:
            block.locator(".examples-select select").first.select_option(shown)
        with self.page.expect_response(lambda answer: answer.request.method == "POST") as waiting:
            block.locator("button.execute").click()
        answer = waiting.value
        block.locator(".live-responses-table .response-col_status").first.wait_for()
        assert urlsplit(answer.url).path.endswith(path)
        return answer.status, json.loads(answer.body())


@contextmanager
def visiting(browser: Browser, url: str) -> Iterator[Visit]:
    page = browser.new_page()
    visit = Visit(page)
    page.goto(f"{url}/docs")
    yield visit
    assert visit.hosts <= {HOST, None}  # None: pictures inside the style sheet
    page.close()


def test_every_route_is_tried_out_with_the_example_of_the_bundle(browser: Browser, address: str) -> None:
    with visiting(browser, f"{address}/small") as visit:
        visit.page.locator(".opblock").first.wait_for()
        assert "small, version 1" in visit.page.title() and visit.page.locator("#key").is_hidden()
        status, told = visit.tried("/score")
        assert status == 200 and told["id"] == served.ROWS[0]["transaction_id"] and told["reasons"]
        for path in ("/invocations", "/endpoints/small/invocations"):
            status, same = visit.tried(path)
            assert (status, same["score"]) == (200, told["score"])
        status, same = visit.tried("/v2/models/small/infer")
        assert status == 200 and {one["name"]: one["data"] for one in same["outputs"]}["score"] == [told["score"]]
        assert visit.complaints == []


def test_the_shapes_of_mlflow_are_tried_out(browser: Browser, address: str) -> None:
    with visiting(browser, f"{address}/small") as visit:
        status, told = visit.tried("/invocations", "dataframe_records")
        assert status == 200 and told["predictions"][0]["id"] == served.ROWS[0]["transaction_id"]


def test_a_picture_is_tried_out(browser: Browser, address: str) -> None:
    with visiting(browser, f"{address}/shades") as visit:
        block = visit.page.locator('.opblock:has([data-path="/predict"])')
        block.locator(".opblock-summary-control").click()
        block.locator(".body-param-content-type select").select_option("application/json")
        with visit.page.expect_response(lambda answer: answer.request.method == "POST") as waiting:
            block.locator("button.execute").click()
        assert waiting.value.status == 200 and json.loads(waiting.value.body())["class"] == "white"
        status, told = visit.tried("/v2/models/shades/infer")
        assert status == 200 and told["outputs"][0]["data"] == ["white"]
        assert visit.complaints == []


def test_the_page_asks_for_a_key_where_the_endpoint_does(browser: Browser, tmp_path: Path) -> None:
    _, key = keys.create(str(tmp_path), "shop", ["score"])
    ring = KeyRing(opening.access(str(tmp_path), Network())[0], every_s=3600)
    app = Starlette(routes=[Mount("/small", served.transaction_app(tmp_path, ring=ring))])
    with live(app) as url, visiting(browser, url.replace("127.0.0.1", HOST) + "/small") as visit:
        form = visit.page.locator("#key")
        form.locator("input").fill("rmk_wrong")
        form.locator("button").click()
        form.locator("output", has_text="holds no key").wait_for()
        assert visit.page.locator(".opblock").count() == 0
        form.locator("input").fill(key)
        form.locator("button").click()
        visit.page.locator(".opblock").first.wait_for()
        assert form.is_hidden()
        status, told = visit.tried("/score")
        assert status == 200 and told["decision"]
    ring.close()


def test_the_browser_is_told_to_ask_nobody_else(browser: Browser, address: str) -> None:
    with visiting(browser, f"{address}/small") as visit:
        visit.page.locator(".opblock").first.wait_for()
        blocked = "([url]) => fetch(url).then(() => false, () => true)"
        assert visit.page.evaluate(blocked, ["http://other.example/"])
        assert any("Content Security Policy" in text for text in visit.complaints)
