"""What every route of the console needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from ray_mlops.ui.sessions import Sessions
from ray_mlops.ui.tasks import Tasks


@dataclass(frozen=True)
class Console:
    """A run root, who is signed in, what runs, and links to other applications; `anywhere` also answers to names that are
    not this machine's."""

    root: str
    sessions: Sessions
    tasks: Tasks
    links: Sequence[tuple[str, str]] = ()
    anywhere: bool = False
