"""What a rollout does, step by step, and what its challenger is held to."""

import re
from typing import Literal

from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.errors import ConfigError

Mode = Literal["canary", "linear", "shadow"]
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class Judging(Frozen):
    """What counts as worse. A challenger as good as its champion is rolled back with at most `false_rollback_rate`,
    over all checks and all looks of a rollout together.

    No step ends before the challenger has answered `min_requests`; what has not by `patience` times the bake is rolled back as
    undecided. It is bad, once the evidence says so, when it fails more often than the champion; when the time of its own work
    that 5 % of its requests exceed is above the champion's by more than the share `latency_tolerance` and by `latency_slack_ms`; when it
    decides fewer than `min_agreement` of the same requests alike; when the scores of the same requests are shifted by a
    population stability index above `max_psi`; when it alerts more or less often, by more than the share `alert_tolerance`.
    """

    false_rollback_rate: float = Field(default=0.05, gt=0, lt=1)
    min_requests: int = Field(default=100, ge=0)
    patience: float = Field(default=10.0, ge=1)
    latency_tolerance: float = Field(default=0.25, ge=0)
    latency_slack_ms: float = Field(default=1.0, ge=0)
    min_agreement: float = Field(default=0.9, gt=0, lt=1)
    max_psi: float = Field(default=0.25, gt=0)
    alert_tolerance: float = Field(default=0.5, gt=0, lt=1)


class Plan(Frozen):
    """The share of requests that the challenger answers in each step, and how long each bakes; in `shadow` it answers none."""

    mode: Mode
    shares: tuple[float, ...] = Field(min_length=1, max_length=20)
    bake_s: float = Field(default=60.0, gt=0)
    metric: str = Field(default="", pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$")
    judging: Judging = Judging()


def parse(canary: float | None, linear: str, shadow: bool, bake: str, metric: str, judging: Judging) -> Plan | None:
    """The plan that the options of a command mean, None without any; raises `ConfigError` for two, or senseless ones."""
    chosen = [
        name for name, given in (("--canary", canary is not None), ("--linear", linear), ("--shadow", shadow)) if given
    ]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)} are different rollouts: choose one")
    if not chosen:
        return None
    if metric and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", metric):
        raise ConfigError(f"--metric {metric!r}: name a callable as module:function")
    mode, shares = "shadow", (0.0,)
    if not shadow:
        mode = "canary" if canary is not None else "linear"
        shares = _shares(str(canary) if canary is not None else linear, chosen[0])
    return Plan(mode=mode, shares=shares, bake_s=seconds(bake), metric=metric, judging=judging)


def seconds(text: str, option: str = "--bake") -> float:
    """A time like `60s`, `5m` or `1h`; raises `ConfigError` for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not found or not float(found[1]):
        raise ConfigError(f"{option} {text!r}: write a time above zero, such as 60s, 5m or 1h")
    return float(found[1]) * _SECONDS[found[2]]


def _shares(text: str, option: str) -> tuple[float, ...]:
    try:
        percents = [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} {text!r}: write percents, such as 10 or 10,25,50") from None
    # Beyond 90 % hardly anybody is left to compare with.
    if not all(0 < one <= 90 for one in percents) or percents != sorted(set(percents)):
        raise ConfigError(f"{option} {text!r}: percents rise from above 0 to at most 90; promotion brings 100")
    return tuple(one / 100 for one in percents)
