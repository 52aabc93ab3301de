"""One execution of a recipe, as every stage is handed it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Where a stage tells how far it is (`total` 0: not known). The terminal shows a bar."""

    def __call__(self, done: int, total: int, unit: str, /) -> None: ...


def no_progress(done: int, total: int, unit: str, /) -> None:
    """A `Progress` that shows nothing."""


class Show(Protocol):
    """Where a stage shows a table that changes while it works. The terminal draws it anew each time."""

    def __call__(self, columns: Sequence[str], rows: Sequence[Sequence[str]], /) -> None: ...


def show_nothing(columns: Sequence[str], rows: Sequence[Sequence[str]], /) -> None:
    """A `Show` for where nobody looks."""


@dataclass(frozen=True)
class Run:
    """One execution of a recipe, handed to every stage.

    `root` is the run root (folder or `s3://`), shared by all runs; `uri` and `fingerprint` are the folder and the
    identity of the artifact which the stage now being run has to make; `override` is the reason given for training
    against the decision.
    """

    root: str
    id: str
    recipe: str
    seed: int = 0
    uri: str = ""
    fingerprint: str = ""
    tracking_uri: str = ""
    override: str = ""
    progress: Progress = no_progress
    show: Show = show_nothing
