"""What the forms of the console do: the functions of the registry, and commands that need a cluster as tasks."""

import json
from collections.abc import Iterator, Mapping

from ray_mlops import commands
from ray_mlops.errors import ConfigError
from ray_mlops.platform import registry
from ray_mlops.ui import views
from ray_mlops.ui.parts import Console
from ray_mlops.ui.sessions import Session

NOTICES = {"It is the champion now.", "It is rejected."}


def judge(console: Console, asked: Mapping[str, str], session: Session, reason: str) -> str:
    """Promote, reject or deploy a version; returns the place that shows it."""
    name, version, what = asked["name"], asked["version"], asked["what"]
    known = registry.open_registry(commands.administration(console.root))
    place = f"/models/{name}/{known.version(name, version).version}"
    if what == "promote":
        known.promote(name, version, _why(reason, session))
        return f"{place}?done=It is the champion now."
    if what == "reject":
        known.reject(name, version, _why(reason, session))
        return f"{place}?done=It is rejected."
    if what == "deploy":
        arguments = ["deploy", f"{name}/{version}", "--root", console.root, *_as_now(console.root, name)]
        return f"/tasks/{console.tasks.start(f'Deploy {name}', arguments, by=session.name).id}"
    raise ConfigError(f"nothing is called {what!r}")


def rollback(console: Console, asked: Mapping[str, str], session: Session, reason: str) -> str:
    """Roll an endpoint back, as `ray-mlops rollback` does; returns the place that shows how it goes."""
    name = asked["name"]
    if name not in views.endpoint_names(console.root):
        raise ConfigError(f"no endpoint is called {name!r}")
    arguments = ["rollback", name, "--reason", _why(reason, session), "--root", console.root]
    return f"/tasks/{console.tasks.start(f'Roll back {name}', arguments, by=session.name).id}"


def _as_now(root: str, model: str) -> Iterator[str]:
    """The settings of the endpoint that serves a model, as arguments of `deploy`; none where there is no such endpoint."""
    for name in views.endpoint_names(root):
        running = views.running(root, name)
        if running and running["version"]["name"] == model:
            for field, value in running.get("config", {}).items():
                yield from ("--set", f"{field}={json.dumps(value)}")  # JSON is YAML
            return


def _why(reason: str, session: Session) -> str:
    if not reason:
        raise ConfigError("say why: the reason is recorded")
    return f"{reason} (console, {session.name})"
