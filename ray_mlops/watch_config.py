"""What the watch of a recipe may do by itself, and how carefully."""

from typing import Literal

from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.serving.rollouts.plan import Plan

Act = Literal["retrain", "rollback"]


class WatchConfig(Frozen):
    """`act` is what may be done without asking: nothing by default. The endpoint is looked at `every_s`. A challenger that was
    trained because of an alarm comes beside the champion by the plan `rollout`; for `cooldown_s` after one was trained there is no
    other. What was cut off goes on when the watch comes back, up to `attempts` times."""

    act: tuple[Act, ...] = ()
    every_s: float = Field(default=300.0, gt=0)
    cooldown_s: float = Field(default=86_400.0, ge=0)
    attempts: int = Field(default=3, ge=1)
    rollout: Plan = Plan(mode="canary", shares=(0.1,), bake_s=600.0)
