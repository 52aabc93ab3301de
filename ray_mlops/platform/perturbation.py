"""How population based training changes hyperparameters, and which members of a population take over from which."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ray_mlops.contract import Choice, Space, Uniform
from ray_mlops.platform.studies import place_of

_QUANTILE = 4  # the worst quarter takes over from the best
_AFRESH = 0.25  # how often a value is drawn anew instead of moved
_FACTORS = (0.8, 1.25)


def successors(values: Sequence[float], random: np.random.Generator) -> list[int]:
    """For each member of a population the one that its next turn starts from: itself, or for the worst one of the best.

    Ties go to the lower place. A population of one or none stays as it is.
    """
    count = len(values)
    best_first = sorted(range(count), key=lambda member: (-values[member], member))
    cut = max(1, count // _QUANTILE) if count > 1 else 0
    found = list(range(count))
    for member in best_first[count - cut :] if cut else []:
        found[member] = best_first[int(random.integers(cut))]
    return found


def perturbed(settings: Mapping[str, Any], space: Space, random: np.random.Generator) -> dict[str, Any]:
    """The settings with every `live` hyperparameter moved a step or, now and then, drawn anew; the others unchanged."""
    changed = dict(settings)
    for name in sorted(space):
        spread, afresh = space[name], bool(random.random() < _AFRESH)
        if not spread.live:
            continue
        if isinstance(spread, Choice):
            changed[name] = _chosen(spread, settings[name], random, afresh=afresh)
        else:
            changed[name] = _drawn(spread, random) if afresh else _moved(spread, settings[name], random)
    return changed


def _chosen(spread: Choice, value: Any, random: np.random.Generator, *, afresh: bool) -> Any:
    place, last = place_of(spread, value), len(spread.values) - 1
    if afresh or place is None:
        return spread.values[int(random.integers(last + 1))]
    return spread.values[min(max(place + int(random.choice((-1, 1))), 0), last)]


def _moved(spread: Uniform, value: float, random: np.random.Generator) -> float:
    factor = float(random.choice(_FACTORS))
    moved = value * factor
    if spread.integer:
        step = -1 if factor < 1 else 1
        moved = int(value) + step if round(moved) == int(value) else round(moved)
    elif not spread.log:  # a range that contains 0 is crossed by steps of its width, not by factors
        moved = value + (factor - 1) * (spread.high - spread.low)
    return _inside(spread, moved)


def _drawn(spread: Uniform, random: np.random.Generator) -> float:
    if spread.log:
        return _inside(spread, float(np.exp(random.uniform(np.log(spread.low), np.log(spread.high)))))
    return _inside(spread, float(random.uniform(spread.low, spread.high)))


def _inside(spread: Uniform, value: float) -> float:
    found = min(max(value, spread.low), spread.high)
    return round(found) if spread.integer else float(found)
