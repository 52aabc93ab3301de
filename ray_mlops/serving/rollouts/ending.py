"""The end of a rollout from outside the command that drives it, which may be alive or dead."""

import time

from ray_mlops.errors import EndpointError
from ray_mlops.serving.rollouts import replicas
from ray_mlops.serving.rollouts.beside import Setting
from ray_mlops.serving.rollouts.records import Records, Rollout, user
from ray_mlops.serving.rollouts.replicas import Replicas


def back(endpoint: Replicas, records: Records, rollout: Rollout, reason: str) -> tuple[Rollout, float]:
    """Have the champion answer alone, whatever the command of the rollout does; the record, and the seconds that it took.

    The command finds the record ended and leaves.
    """
    ended = records.write(rollout.then("rolled_back", reason=f"{reason} (by {user()})"))
    began = time.monotonic()
    endpoint.turn(Setting(rollout=rollout.id))
    return ended, time.monotonic() - began


def tidy(root: str, name: str, why: str) -> None:
    """End what a rollout whose command has died has left behind; raises `EndpointError` while one is under way."""
    records = Records(root, name)
    left = records.running()
    if left is None:
        return
    if records.alive(left):
        raise EndpointError(
            f"a rollout of version {left.challenger.version} is under way on {left.host} (process {left.pid}, by {left.user}): "
            f"wait, or end it with `ray-mlops rollback {name}`"
        )
    records.write(left.then("interrupted", reason=f"its command died; the champion answers alone since {why}"))
    endpoint = Replicas(replicas.known(root, name), root)
    if endpoint.there():
        endpoint.turn(Setting(rollout=left.id))
