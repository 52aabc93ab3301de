"""What a replica may attach to its application."""

from dataclasses import dataclass

from ray_mlops.serving.asynchronous.queue import Queue
from ray_mlops.serving.rollouts.switch import Switch


@dataclass(frozen=True)
class Attached:
    """`queue` keeps what is asked for later; `switch` may bring a challenger."""

    queue: Queue | None = None
    switch: Switch | None = None


NOTHING = Attached()
