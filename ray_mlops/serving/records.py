"""What was deployed from a run root, as its files tell: who answers with which bundle.

An endpoint counts as deployed from its record until it is taken down, whether it can be reached or not: its cluster may be
another machine's business.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ray_mlops.platform import files
from ray_mlops.serving.rollouts.records import Records

FOLDER, ENDPOINT, MODELS, DOWN = "endpoints", "endpoint.json", "models.json", "down.json"


class Use(NamedTuple):
    """A bundle in use: its digest and by what."""

    digest: str
    by: str


def write(root: str, name: str, what: str, value: Mapping[str, Any]) -> None:
    """Record what is deployed under a name, `ENDPOINT` or `MODELS`; it is up from now on."""
    folder = files.join(root, FOLDER, name)
    other = MODELS if what == ENDPOINT else ENDPOINT
    files.write_json(files.join(folder, what), value)
    for stale in (other, DOWN):
        files.remove(files.join(folder, stale))


def taken_down(root: str, name: str) -> bool:
    """Record that an endpoint is down; whether one was recorded as up."""
    if name not in names(root):
        return False
    files.write_json(files.join(root, FOLDER, name, DOWN), {"time": datetime.now(UTC).isoformat()})
    return True


def names(root: str) -> tuple[str, ...]:
    """The endpoints that are up as far as was recorded."""
    base = files.join(root, FOLDER)
    found = []
    for name in files.listing(base):
        held = set(files.listing(files.join(base, name)))
        if held & {ENDPOINT, MODELS} and DOWN not in held:
            found.append(name)
    return tuple(found)


def uses(root: str) -> tuple[Use, ...]:
    """The bundles that endpoints answer with, and those of rollouts that have not ended."""
    return tuple(use for name in names(root) for use in _uses(root, name))


def _uses(root: str, name: str) -> Iterator[Use]:
    folder = files.join(root, FOLDER, name)
    held = files.listing(folder)
    if ENDPOINT in held:
        yield Use(files.read_json(files.join(folder, ENDPOINT))["digest"], f"endpoint {name!r} answers with it")
    if MODELS in held:
        models = files.read_json(files.join(folder, MODELS))["models"]
        yield from (Use(model["digest"], f"endpoint {name!r} has it among its models") for model in models.values())
    rollout = Records(root, name).running() if "rollouts" in held else None
    for side in (rollout.champion, rollout.challenger) if rollout else ():
        yield Use(side.digest, f"rollout {rollout.id} of endpoint {name!r} has not ended" if rollout else "")
