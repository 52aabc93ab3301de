"""What an alarm calls for: keep the model, train another, or bring back the one before it. Rules, and the reasons in words.

Another model mends what a model is the cause of: that the world it learned has changed (retrain), or that it is worse than the
one it replaced (roll back). Where the data break, or what is around the model, people have to mend that.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from ray_mlops.monitoring.data_quality import MISSING, REFUSED, UNANSWERED
from ray_mlops.monitoring.readings import Reading

Action = Literal["keep", "retrain", "roll back"]
Proposal = tuple[Action, tuple[str, ...]]
_DOUBTFUL = 0.01  # what quality may do by chance beside an alarm of drift, which holds the false-alarm rate by itself


class Circumstances(NamedTuple):
    """What is known beside the alarms. `deployed` (seconds since the epoch) is when the version took the place of the version
    `before`, None and empty where it took nobody's; `before_alarmed` says that the other one was in alarm itself, last.
    `quality` is the latest reading of model quality, None where no labels have come. Trouble that begins within `soon_s` after
    the deployment is put down to it."""

    deployed: float | None = None
    before: str = ""
    before_alarmed: bool = False
    quality: Reading | None = None
    soon_s: float = 3_600.0


def propose(alarmed: Sequence[Reading], since: float, known: Circumstances) -> Proposal:
    """What to do about the comparisons that are in alarm, the first of which went too far at `since`, and why."""
    unanswered = [one for one in alarmed if one.name == UNANSWERED]
    broken = [
        one for one in alarmed if one.name == REFUSED or (one.monitor == "data quality" and one.name.endswith(MISSING))
    ]
    worse = [one for one in alarmed if one.monitor == "model quality"]
    unsound = [one for one in alarmed if one.monitor == "data quality"]
    # What training did not have may be as true as any other value: by itself that is the world, not the data, that changed.
    moved = [one for one in alarmed if not one.certain and one not in (*worse, *broken, *unanswered)]
    blamed, why_not = _blamed(since, known)
    if blamed and (unsound or (worse and not moved)):
        return "roll back", (blamed, *map(_told, [*unsound, *worse]))
    told = [*([why_not] if why_not and (unsound or worse) else []), *_around(alarmed, unanswered)]
    if broken:
        told.append(
            f"the data that come are broken: {'; '.join(map(_told, broken[:3]))}. Mend what sends them: a model trained on them "
            "would learn the break"
        )
    elif worse or moved:
        action, reason = _by_quality(worse, moved, known.quality)
        return action, (*told, reason)
    return "keep", tuple(told)


def _blamed(since: float, known: Circumstances) -> tuple[str, str]:
    """Why the deployment is to blame, or why the version before is not brought back although it might be."""
    if known.deployed is None or not known.before or since > known.deployed + known.soon_s:
        return "", ""
    minutes = max(0.0, since - known.deployed) / 60
    if known.before_alarmed:
        return "", f"it began {minutes:.0f} min after version {known.before} was replaced, which was in alarm itself"
    return f"it began {minutes:.0f} min after this version took the place of version {known.before}", ""


def _around(alarmed: Sequence[Reading], unanswered: Sequence[Reading]) -> list[str]:
    """What is wrong around the model."""
    told = [f"{one.name}: {one.words}. No model mends that: look at the disk" for one in alarmed if one.certain]
    told += [
        f"{_told(one)}. Look at the endpoint: its entity store, its load, its deadline (deploy.limits.deadline_s)"
        for one in unanswered
    ]
    return told


def _by_quality(worse: Sequence[Reading], moved: Sequence[Reading], quality: Reading | None) -> tuple[Action, str]:
    """What is called for where the data are whole and the endpoint answers."""
    if worse and moved:
        return "retrain", f"the answers have become worse ({worse[0].words}) while other things moved: {_listed(moved)}"
    if worse:
        return "retrain", (
            f"the answers have become worse ({worse[0].words}) and what comes looks as in training: what it means has changed"
        )
    if quality is None:
        return "keep", (
            f"{_listed(moved)} moved, and no labels say whether the answers are worse: bring labels, or retrain by hand"
        )
    if quality.exceeds and quality.chance < _DOUBTFUL:
        return "retrain", f"{_listed(moved)} moved, and the answers have become worse: {quality.words}"
    return "keep", f"{_listed(moved)} moved, and the answers are as good as before: {quality.words}"


def _told(one: Reading) -> str:
    return f"{one.name}: {one.words}"


def _listed(found: Sequence[Reading]) -> str:
    names = [one.name for one in found]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def moment(seconds: float) -> str:
    """A time for people, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
