"""When is it an alarm? Where an effect is too large in M of the last N windows, and chance would hardly do that.

The M-th smallest p-value of N windows is turned into the probability that at least M of N show as much by chance. Holm's
procedure then holds all comparisons of a window together: whatever they have to do with one another, a window in which
nothing has changed raises any alarm with a probability of at most `false_alarms`. Benjamini and Hochberg's would only bound
the share of false ones among all alarms, and one real drift would let others through that are not. What is promised rests on
windows being independent; `replay` says what a rule would have done on those that are past.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field, model_validator

from ray_mlops.contract import Frozen
from ray_mlops.monitoring import chance
from ray_mlops.monitoring.readings import Reading


class Rule(Frozen):
    """`needed` (M) of the last `windows` (N) must show a too large effect; `false_alarms` is the largest probability of any
    alarm in a window when nothing has changed. While there are fewer windows, all up to M of them must."""

    needed: int = Field(default=2, ge=1)
    windows: int = Field(default=3, ge=1)
    false_alarms: float = Field(default=0.001, gt=0, lt=1)

    @model_validator(mode="after")
    def _possible(self) -> "Rule":
        if self.needed > self.windows:
            raise ValueError(
                f"{self.needed} of {self.windows} windows can never show anything: needed is at most windows"
            )
        return self


class Alarm(Frozen):
    """A comparison that has gone too far; `chance` is that of as much in as many windows when nothing has changed, unless it
    is certain."""

    key: str
    windows: int
    of: int
    chance: float
    words: str
    certain: bool = False

    def __str__(self) -> str:
        estimated = f"; in {self.windows} of {self.of} windows, by chance {self.chance:.1g}"
        return f"{self.key}: {self.words}{'' if self.certain else estimated}"


def judge(windows: Sequence[Sequence[Reading]], rule: Rule) -> list[Alarm]:
    """The alarms after the last of some windows, the least likely by chance first; what is certain needs one window."""
    certain = [
        Alarm(key=reading.key, windows=1, of=1, chance=0.0, words=reading.words, certain=True)
        for reading in (windows[-1] if windows else ())
        if reading.certain and reading.exceeds
    ]
    estimated = [[reading for reading in window if not reading.certain] for window in windows[-rule.windows :]]
    return certain + _estimated(estimated, rule)


def _estimated(windows: Sequence[Sequence[Reading]], rule: Rule) -> list[Alarm]:
    recent = [{reading.key: reading for reading in window} for window in windows]
    keys = sorted({key for window in recent for key in window})
    series = [[window[key] for window in recent if key in window] for key in keys]
    if not series:
        return []
    chances = np.array([_together(readings, rule) for readings in series])
    alarms = [
        Alarm(key=key, windows=exceeding, of=len(readings), chance=float(told), words=readings[-1].words)
        for key, readings, told, rare in zip(
            keys, series, chances, chance.holm(chances, rule.false_alarms), strict=True
        )
        if rare and (exceeding := sum(one.exceeds for one in readings)) >= min(rule.needed, len(readings))
    ]
    return sorted(alarms, key=lambda alarm: (alarm.chance, alarm.key))


def replay(windows: Sequence[Sequence[Reading]], rule: Rule) -> list[list[Alarm]]:
    """What the rule would have said after each of some windows."""
    return [judge(windows[max(0, end - rule.windows) : end], rule) for end in range(1, len(windows) + 1)]


def _together(readings: Sequence[Reading], rule: Rule) -> float:
    """The probability that as many windows as needed show by chance what the least remarkable of the most remarkable does."""
    needed = min(rule.needed, len(readings))
    return chance.at_least(needed, len(readings), sorted(one.chance for one in readings)[needed - 1])
