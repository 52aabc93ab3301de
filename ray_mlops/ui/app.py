"""The console as a Starlette application: places to look at, forms that change something, and what keeps others out.

No page has a script, so the policy allows none. A form is taken from a page of the same session only: its cookie is not
sent from other sites, its token stands nowhere else, and a browser that names another origin is refused. The host that was
asked for must be this machine's, or a name that leads here would let a foreign page read the console.
"""

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ray_mlops.errors import RayMlopsError, RegistryError
from ray_mlops.reports.page import Page, Section, Text
from ray_mlops.ui import actions, pages, shared, views
from ray_mlops.ui.parts import Console
from ray_mlops.ui.sessions import COOKIE, IDLE_S, Session
from ray_mlops.ui.traffic import LOOPBACK
from ray_mlops.ui.views import View

PLACES = (
    ("Overview", "/"), ("Runs", "/runs"), ("Models", "/models"), ("Endpoints", "/endpoints"), ("Drift", "/drift"),
    ("Tasks", "/tasks"),
)  # fmt: skip
Handler = Callable[[Request], Awaitable[Response]]


def application(console: Console) -> Starlette:
    """The console of a run root."""
    door = _Door(console)
    routes = [
        Route("/console.css", pages.style),
        Route("/sign-in", door.sign_in, methods=["GET", "POST"]),
        Route("/sign-out", door.sign_out, methods=["POST"]),
        Route("/files/{path:path}", door.guarded(door.file)),
        Route("/models/{name}/{version}/{what}", door.changing(actions.judge), methods=["POST"]),
        Route("/endpoints/{name}/rollback", door.changing(actions.rollback), methods=["POST"]),
        *(Route(path, door.shown(build)) for path, build in _VIEWS.items()),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette):
        yield
        console.sessions.close()

    application = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: door.missing})
    application.add_middleware(shared.Shell, hosts=None if console.anywhere else LOOPBACK)
    return application


Build = Callable[[Console, dict[str, Any], Session], View]

_VIEWS: dict[str, Build] = {
    "/": lambda console, asked, session: views.overview(console.root),
    "/runs": lambda console, asked, session: views.all_runs(console.root),
    "/runs/{run}": lambda console, asked, session: views.one_run(console.root, asked["run"]),
    "/models": lambda console, asked, session: views.all_models(console.root),
    "/models/{name}/{version}": lambda console, asked, session: views.one_model(
        console.root, asked["name"], asked["version"]
    ),
    "/endpoints": lambda console, asked, session: views.all_endpoints(console.root),
    "/endpoints/{name}": lambda console, asked, session: views.one_endpoint(console.root, asked["name"], session.key),
    "/drift": lambda console, asked, session: views.drift(console.root),
    "/tasks": lambda console, asked, session: pages.all_tasks(console.tasks),
    "/tasks/{task}": lambda console, asked, session: pages.one_task(console.tasks, asked["task"]),
}


class _Door:
    """Who comes in, and how what they asked for is answered."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def shown(self, build: Build) -> Handler:
        """A route that shows a view."""

        async def show(request: Request, session: Session) -> Response:
            try:
                view = await run_in_threadpool(build, self._console, request.path_params, session)
            except RayMlopsError as error:
                return self._failed(request, session, str(error), 404 if _unknown(error) else 500)
            notice = request.query_params.get("done", "")
            return self._page(request, session, view, notice=notice if notice in actions.NOTICES else "")

        return self.guarded(show)

    def guarded(self, handler: Callable[[Request, Session], Awaitable[Response]]) -> Handler:
        """A route for those who are signed in; while no key is needed, everybody is."""

        async def guard(request: Request) -> Response:
            session = self._console.sessions.find(request.cookies.get(COOKIE))
            if session is not None:
                return await handler(request, session)
            begun = self._console.sessions.begin()
            if isinstance(begun, str):
                return RedirectResponse(f"/sign-in?to={quote(request.url.path)}", 303)
            return _remembered(await handler(request, begun), begun)

        return guard

    def changing(self, act: Callable[..., str]) -> Handler:
        """A route that changes something and leads to where the change shows."""

        async def change(request: Request) -> Response:
            session = self._console.sessions.find(request.cookies.get(COOKIE))
            given = await request.form(max_files=0, max_fields=10)
            if session is None or not _same_origin(request) or not session.wrote(given.get("token")):
                told = "This form is not from a page of your session, or the session is over. Open the page again."
                return self._failed(request, session, told, 403)
            reason = str(given.get("reason", "")).strip()[:500]
            try:
                place = await run_in_threadpool(act, self._console, request.path_params, session, reason)
            except RayMlopsError as error:
                return self._failed(request, session, str(error), 404 if _unknown(error) else 409)
            return RedirectResponse(place, 303)

        return change

    async def sign_in(self, request: Request) -> Response:
        """Ask for a key, and begin a session with it."""
        if request.method == "GET":
            return self._page(request, None, _asking(), sign_in=True)
        given = await request.form(max_files=0, max_fields=10)
        begun = (
            self._console.sessions.begin(str(given.get("key", "")).strip())
            if _same_origin(request)
            else "Not from here."
        )
        if isinstance(begun, str):
            return self._page(request, None, _asking(), sign_in=True, problem=begun, status=403)
        place = request.query_params.get("to", "/")
        return _remembered(RedirectResponse(place if _inside(place) else "/", 303), begun)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        session = self._console.sessions.find(request.cookies.get(COOKIE))
        given = await request.form(max_files=0, max_fields=10)
        if session is not None and session.wrote(given.get("token")):
            self._console.sessions.end(session)
        gone = RedirectResponse("/sign-in", 303)
        gone.delete_cookie(COOKIE)
        return gone

    async def file(self, request: Request, session: Session) -> Response:
        """A page that a run has left; in a sandbox, so that nothing in it can act as the reader."""
        found = await run_in_threadpool(pages.report, self._console.root, request.path_params["path"])
        return found or self._failed(request, session, "There is no such page.", 404)

    async def missing(self, request: Request, _: Exception) -> Response:
        """What answers where no route is."""
        session = self._console.sessions.find(request.cookies.get(COOKIE))
        return self._failed(request, session, "There is nothing here.", 404)

    def _failed(self, request: Request, session: Session | None, problem: str, status: int) -> Response:
        view = View(Page("That did not work" if status != 404 else "Not found"))
        return self._page(request, session, view, problem=problem, status=status)

    def _page(
        self, request: Request, session: Session | None, view: View, *, status: int = 200, **more: Any
    ) -> Response:
        here = "/" + request.url.path.strip("/").split("/")[0]
        places = PLACES if session else ()
        return pages.draw(view, status, session=session, places=places, links=self._console.links, here=here, **more)


def _asking() -> View:
    about = Text(
        "This run root has API keys, so the console asks for one. It is kept by the console until you sign out."
    )
    return View(Page("Sign in", "", (Section("Access", (about,)),)))


def _same_origin(request: Request) -> bool:
    """Browsers name the origin of a form; one that names none is no browser, and has the token or has not."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    return site in ("same-origin", "none") and (
        origin is None or urlsplit(origin).netloc == request.headers.get("host")
    )


def _inside(place: str) -> bool:
    return place.startswith("/") and not place.startswith(("//", "/\\"))


def _unknown(error: RayMlopsError) -> bool:
    return isinstance(error, RegistryError) or "is called" in str(error)


def _remembered(response: Response, session: Session) -> Response:
    response.set_cookie(COOKIE, session.id, max_age=int(IDLE_S), httponly=True, samesite="strict", path="/")
    return response
