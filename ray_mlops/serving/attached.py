"""What a replica may attach to its application."""

from dataclasses import dataclass

from ray_mlops.serving.asynchronous.queue import Queue
from ray_mlops.serving.rollouts.switch import Switch
from ray_mlops.serving.watching import Watcher


@dataclass(frozen=True)
class Attached:
    """`queue` keeps what is asked for later; `switch` may bring a challenger; `watcher` counts for monitoring."""

    queue: Queue | None = None
    switch: Switch | None = None
    watcher: Watcher | None = None


NOTHING = Attached()
