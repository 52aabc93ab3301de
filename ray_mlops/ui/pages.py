"""How views become answers: the templates, the stylesheet, the pages that runs have left, and those of the tasks."""

import re
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ray_mlops.errors import ConfigError
from ray_mlops.platform import files
from ray_mlops.reports.page import TEMPLATES, Facts, Link, Page, Rows, Section, Text, templates
from ray_mlops.ui.shared import SANDBOX
from ray_mlops.ui.tasks import Tasks
from ray_mlops.ui.views import View

_OWN = Path(__file__).parent / "templates"
_NAME = r"(?!\.)[A-Za-z0-9_.-]+"
_PAGE = re.compile(rf"(runs/{_NAME}|artifacts/{_NAME}/{_NAME})/{_NAME}\.html")


def draw(view: View, status: int, **shown: Any) -> Response:
    """A view as an answer; `shown` is what stands around it."""
    around = {"notice": "", "problem": "", "sign_in": False, **shown}
    return HTMLResponse(templates(_OWN).get_template("console.html").render(view=view, **around), status)


async def style(request: Request) -> Response:
    """The stylesheet: that of the reports, and what the console has on top of it."""
    content = (TEMPLATES / "page.css").read_text() + (_OWN / "console.css").read_text()
    return Response(content, media_type="text/css", headers={"cache-control": "max-age=3600"})


def report(root: str, path: str) -> Response | None:
    """A page of the run root, in a sandbox; None for everything else."""
    place = files.join(root, path)
    if not _PAGE.fullmatch(path) or not files.exists(place):
        return None
    return HTMLResponse(files.read_text(place), headers={"content-security-policy": SANDBOX})


def all_tasks(tasks: Tasks) -> View:
    """What this console has started."""
    rows = [(Link(task.about, f"/tasks/{task.id}"), task.status, task.began, task.by) for task in tasks.all()]
    blocks = [Rows(("task", "status", "began (UTC)", "by"), rows)] if rows else [Text("Nothing was started from here.")]
    return View(Page("Tasks", "", (Section("Started from this console", blocks),)))


def one_task(tasks: Tasks, identity: str) -> View:
    """One of them, with what it has printed."""
    task = tasks.find(identity)
    if task is None:
        raise ConfigError("no task is called so")
    facts = Facts({"Status": task.status, "Began (UTC)": task.began, "By": task.by})
    tone = {"running": "plain", "done": "good", "failed": "bad"}[task.status]
    words = {"running": "It is under way.", "done": "It is done.", "failed": "It has failed: see what it says."}
    blocks = (Text(words[task.status], tone), facts)  # pyright: ignore[reportArgumentType]
    page = Page(task.about, "", (Section("Task", blocks),))
    return View(page, refresh_s=2 if task.status == "running" else 0, output=task.output or "(nothing yet)")
