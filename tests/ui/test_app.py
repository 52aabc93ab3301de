"""The console over HTTP: what it shows, what it changes, and whom it keeps out."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ray_mlops.cli import main
from ray_mlops.contract import Run
from ray_mlops.errors import ConfigError
from ray_mlops.overrides import override
from ray_mlops.platform.registry import Registry, open_registry
from ray_mlops.serving.access import keys
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.ui import traffic
from ray_mlops.ui.actions import _as_now
from ray_mlops.ui.app import application
from ray_mlops.ui.parts import Console
from ray_mlops.ui.sessions import COOKIE, IDLE_S, Sessions
from ray_mlops.ui.tasks import Tasks
from tests.ui.furnished import RUN, furnish

HERE = "http://127.0.0.1:8050"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    furnish(root)
    return root


def client(root: Path, **options: object) -> TestClient:
    console = Console(str(root), Sessions(str(root), **options), Tasks())
    return TestClient(application(console), base_url=HERE, follow_redirects=False)


@pytest.fixture
def browser(root: Path) -> Iterator[TestClient]:
    with client(root) as found:
        yield found


def token(page: str) -> str:
    return re.search(r'name="token" value="([^"]+)"', page)[1]


def registered(root: Path) -> Registry:
    return open_registry(Run(root=str(root), id="", recipe=""))


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("/", ["amount has moved", "score psi", RUN, "/endpoints/small"]),
        ("/runs", [RUN, "use_ml", "0.75"]),
        (f"/runs/{RUN}", ["A model is worth having.", "It pays.", "/files/artifacts/decide/d1/report.html"]),
        ("/models", ["champion", "challenger", "approved", "pending", "/models/small/2"]),
        ("/models/small/2", ["Approve and promote", "Reject", "Nobody has rated the risk", "registered"]),
        ("/models/small/champion", ["Deploy", "Reject"]),
        ("/endpoints", ["http://127.0.0.1:9/small"]),
        ("/endpoints/small", ["It does not answer", "There were no rollouts", "/models/small/1"]),
        ("/endpoints/small", ["Proposed: retrain.", "score is from 0.9 up", "4711", "version 2 was slower"]),
        ("/drift", ["2024-02-01T10:00:00Z", "drift", "5,000", "score psi", "70"]),
        ("/drift", ["the score moved", "retrain", "rejected", "watch (", "small-abc-1"]),
        ("/tasks", ["Nothing was started from here."]),
    ],
)
def test_every_place_shows_the_records_of_the_root(browser: TestClient, place: str, told: list[str]) -> None:
    answer = browser.get(place)
    assert answer.status_code == 200, answer.text
    assert [words for words in told if words not in answer.text] == []
    assert "<script" not in answer.text and "<b>far</b>" not in answer.text


def test_what_is_not_there_is_not_found(browser: TestClient) -> None:
    for place in ("/runs/none", "/models/none/1", "/models/small/9", "/endpoints/none", "/tasks/none", "/nothing"):
        assert browser.get(place).status_code == 404, place


def test_traffic_counts_what_was_asked_in_the_last_minutes(root: Path) -> None:
    now = traffic.recent(str(root), "small")
    assert (now.requests, now.failures, now.p50_ms) == (3, 1, 4.0)
    assert sum(requests for _, requests, _ in now.by_minute) == 3


def test_every_answer_forbids_scripts_and_frames(browser: TestClient) -> None:
    for place in ("/", "/console.css", "/nothing"):
        told = browser.get(place).headers
        assert (
            "default-src 'none'" in told["content-security-policy"]
            and "script-src" not in told["content-security-policy"]
        )
        assert told["x-frame-options"] == "DENY" and told["x-content-type-options"] == "nosniff"


def test_pages_of_the_root_are_shown_in_a_sandbox_and_nothing_else_is(browser: TestClient, root: Path) -> None:
    page = browser.get("/files/artifacts/decide/d1/report.html")
    assert "The page of decide" in page.text
    assert page.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    (root / "artifacts" / "decide" / "d1" / ".secret.html").write_text("x")
    for path in (
        "access/keys.json", "mlflow.db", f"runs/{RUN}/run.json", "artifacts/decide/../../access/keys.html",
        "artifacts/../x/report.html", "artifacts/decide/d1/.secret.html", "/etc/passwd", "artifacts/monitor/m1/monitor.json",
    ):  # fmt: skip
        assert browser.get(f"/files/{path}").status_code == 404, path


def test_promoting_and_rejecting_are_recorded_with_the_reason(tmp_path: Path) -> None:
    furnish(tmp_path)
    with client(tmp_path) as browser:
        given = {"token": token(browser.get("/models/small/2").text), "reason": "fewer complaints"}
        answer = browser.post("/models/small/2/promote", data=given, headers={"origin": HERE})
        assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/models/small/2")
        assert "It is the champion now." in browser.get(answer.headers["location"]).text
        assert registered(tmp_path).champion("small").version == "2"
        assert registered(tmp_path).version("small", "2").changes[-1].reason == "fewer complaints (console, anybody)"
        assert browser.post("/models/small/2/reject", data={**given, "reason": " "}).status_code == 409
        assert browser.post("/models/small/2/reject", data=given).status_code == 303
        assert registered(tmp_path).champion("small").version == "1"
        assert browser.post("/models/small/2/burn", data=given).status_code == 404


def test_a_form_from_elsewhere_changes_nothing(browser: TestClient, root: Path) -> None:
    right = {"token": token(browser.get("/models/small/2").text), "reason": "x"}
    place = "/models/small/2/reject"
    for data, headers in (
        ({"reason": "x"}, {}),
        ({**right, "token": "wrong"}, {}),
        (right, {"origin": "http://evil.example"}),
        (right, {"origin": "null"}),
        (right, {"sec-fetch-site": "cross-site"}),
        (right, {"sec-fetch-site": "same-site"}),
    ):
        assert browser.post(place, data=data, headers=headers).status_code == 403
    browser.cookies.clear()
    assert browser.post(place, data=right).status_code == 403
    assert browser.get(place).status_code == 405
    assert registered(root).version("small", "2").approval == "pending"


def test_another_host_is_not_answered(browser: TestClient) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:8050", ""):
        assert browser.get("/", headers={"host": host}).status_code == 421
    for host in ("localhost:8050", "127.0.0.1", "[::1]:8050"):
        assert browser.get("/runs", headers={"host": host}).status_code == 200


def test_a_body_that_no_form_has_is_refused(browser: TestClient) -> None:
    assert browser.post("/sign-in", content=b"x" * 100_000).status_code == 413
    assert browser.post("/sign-in", content=iter([b"x"])).status_code == 413


def test_from_the_first_key_on_one_of_scope_admin_is_needed(tmp_path: Path) -> None:
    furnish(tmp_path)
    _, admin = keys.create(str(tmp_path), "ops", ["admin"])
    _, scoring = keys.create(str(tmp_path), "shop", ["score"])
    with client(tmp_path) as browser:
        asked = browser.get("/models/small/2")
        assert (asked.status_code, asked.headers["location"]) == (303, "/sign-in?to=/models/small/2")
        for text, told in (("nonsense", "This is no key"), (scoring, "needs admin"), ("", "This is no key")):
            refused = browser.post("/sign-in", data={"key": text})
            assert refused.status_code == 403 and told in refused.text and scoring not in refused.text
        assert COOKIE not in browser.cookies
        entered = browser.post("/sign-in?to=/models/small/2", data={"key": admin})
        assert (entered.status_code, entered.headers["location"]) == (303, "/models/small/2")
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and admin.lower() not in cookie
        page = browser.get("/models/small/2").text
        assert "Sign out ops" in page and admin not in page
        given = {"token": token(page), "reason": "good"}
        assert browser.post("/models/small/2/promote", data=given).status_code == 303
        assert registered(tmp_path).version("small", "2").changes[-1].reason == "good (console, ops)"
        for place in ("//evil.example", "/\\evil.example", "http://evil.example"):
            assert browser.post("/sign-in", params={"to": place}, data={"key": admin}).headers["location"] == "/"
        browser.post("/sign-out", data={"token": token(browser.get("/").text)})
        assert browser.get("/").status_code == 303


def test_a_session_ends_with_its_key_and_when_nobody_uses_it(tmp_path: Path) -> None:
    _, admin = keys.create(str(tmp_path), "ops", ["admin"])
    now = [0.0]
    sessions = Sessions(str(tmp_path), clock=lambda: now[0])
    begun = sessions.begin(admin)
    assert not isinstance(begun, str) and sessions.find(begun.id) is begun
    now[0] = IDLE_S + 1
    assert sessions.find(begun.id) is None
    again = sessions.begin(admin)
    assert not isinstance(again, str)
    keys.revoke(str(tmp_path), "ops")
    sessions._ring.refresh()
    assert sessions.find(again.id) is None and "revoked" in str(sessions.begin(admin))
    sessions.close()


def test_a_command_runs_beside_and_its_output_is_kept() -> None:
    tasks = Tasks()
    task = tasks.start("Show help", ["--help"], by="ops")
    with pytest.raises(ConfigError, match="under way already"):
        tasks.start("Show help", ["--help"], by="ops")
    task.process.wait(60)
    assert task.status == "done" and "The machine-learning lifecycle on Ray" in task.output
    wrong = tasks.start("Nonsense", ["nonsense"], by="ops")
    wrong.process.wait(60)
    assert wrong.status == "failed" and tasks.all() == [wrong, task]


def test_rolling_back_runs_the_command_line(browser: TestClient, root: Path) -> None:
    given = {"token": token(browser.get("/models/small/1").text), "reason": "chargebacks"}
    assert browser.post("/endpoints/none/rollback", data=given).status_code == 404
    started = browser.post("/endpoints/small/rollback", data=given)
    assert started.status_code == 303 and started.headers["location"].startswith("/tasks/")
    for _ in range(600):
        page = browser.get(started.headers["location"]).text
        if "It is under way." not in page:
            break
        time.sleep(0.1)
    assert "It has failed" in page and "Roll back small" in page and "http-equiv" not in page


def test_deploying_keeps_the_settings_of_the_endpoint(root: Path) -> None:
    record = root / "endpoints" / "small" / "running.json"
    known = json.loads(record.read_text())
    config = DeployConfig(port=26_077, ready_s=7).model_dump(mode="json")
    record.write_text(json.dumps({**known, "config": config}))
    told = [text for text in _as_now(str(root), "small") if text != "--set"]
    assert override(DeployConfig(), told) == DeployConfig(port=26_077, ready_s=7)
    assert list(_as_now(str(root), "another")) == []


def test_other_machines_are_let_in_with_keys_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ui", "--host", "0.0.0.0", "--port", "0", "--root", str(tmp_path)]) == 1
    assert "needs a key" in capsys.readouterr().err
    keys.create(str(tmp_path), "shop", ["score"])
    assert main(["ui", "--host", "0.0.0.0", "--port", "0", "--root", str(tmp_path)]) == 1
