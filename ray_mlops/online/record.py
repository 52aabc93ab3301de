"""What a store remembers of an event besides its rows."""

from collections.abc import Sequence
from typing import NamedTuple


class Record(NamedTuple):
    """What is remembered of an event id: `time` is None while only its label has come, `entities` are those of the
    labelled streams, `answer` are the window features that were given."""

    id: int | str
    time: int | None = None
    entities: tuple[str | None, ...] = ()
    label: float | None = None
    label_time: int = 0
    answer: Sequence[float] | None = None

    @property
    def dated(self) -> int:
        """The time from which its age counts."""
        return self.label_time if self.time is None else self.time
