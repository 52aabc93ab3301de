"""What earlier searches of a recipe found, so that the next one need not begin from nothing."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ray_mlops.contract import Choice, Run, Space, Uniform
from ray_mlops.platform import files

_FOLDER = "studies"
_CHOSEN = "warm_start.json"


def note(run: Run, kind: str, settings: Mapping[str, Any], *, value: float) -> None:
    """Write down the best hyperparameters of a search, for later ones of the same recipe and kind of algorithm."""
    study = {"settings": dict(settings), "value": value}
    files.write_json(files.join(run.root, _FOLDER, run.recipe, kind, f"{run.fingerprint}.json"), study)


def earlier(run: Run, kind: str, space: Space, *, count: int) -> list[dict[str, Any]]:
    """At most `count` different settings that earlier searches found, the best first, as far as `space` has them.

    Chosen once: an attempt that goes on after a kill gets the ones of the first, whatever was found in between.
    """
    chosen = files.join(run.uri, _CHOSEN)
    if not files.exists(chosen):
        files.write_json(chosen, _chosen(run, kind, space)[:count])
    return [_typed(settings, space) for settings in files.read_json(chosen)]


def _chosen(run: Run, kind: str, space: Space) -> list[dict[str, Any]]:
    folder = files.join(run.root, _FOLDER, run.recipe, kind)
    others = [name for name in files.listing(folder) if name != f"{run.fingerprint}.json"]
    studies: Sequence[Mapping[str, Any]] = [files.read_json(files.join(folder, name)) for name in others]
    found: list[dict[str, Any]] = []
    for study in sorted(studies, key=lambda study: -study["value"]):
        if _within(study["settings"], space) and study["settings"] not in found:
            found.append(study["settings"])
    return found


def _within(settings: Mapping[str, Any], space: Space) -> bool:
    return set(settings) == set(space) and all(_legal(spread, settings[name]) for name, spread in space.items())


def _legal(spread: Uniform | Choice, value: Any) -> bool:
    if isinstance(spread, Choice):
        return place_of(spread, value) is not None
    return isinstance(value, (int, float)) and spread.low <= value <= spread.high


def place_of(choice: Choice, value: Any) -> int | None:
    """The place of a value among those of a choice; a list read from JSON is the tuple it was; None when not there."""
    found = [place for place, known in enumerate(choice.values) if json.dumps(known) == json.dumps(value)]
    return found[0] if found else None


def _typed(settings: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The settings with the values of a choice as the space has them."""
    typed = {}
    for name, value in settings.items():
        spread = space[name]
        typed[name] = spread.values[place_of(spread, value) or 0] if isinstance(spread, Choice) else value
    return typed
