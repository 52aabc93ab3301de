"""What goes wrong around the model: lines of the capture log that are lost, counts that cannot be written. Both are counted
and not estimated, so they are an alarm at once."""

from collections.abc import Iterable, Iterator, Mapping

from ray_mlops.monitoring.alarms import Alarm
from ray_mlops.monitoring.notes import Note
from ray_mlops.monitoring.readings import Reading

LOST = "capture log"


def compare(captured: Mapping[str, int]) -> Iterator[Reading]:
    """Of a window: the share of lines of the capture log that found no room in its queue or on its disk."""
    dropped, lines = captured.get("dropped", 0), captured.get("dropped", 0) + captured.get("written", 0)
    if dropped > 0:
        yield Reading(
            monitor="operation",
            name=LOST,
            rows=lines,
            effect=dropped / lines,
            limit=0.0,
            chance=0.0,
            words=f"{dropped:,} of {lines:,} lines are lost: is the disk full? Requests are answered all the same",
        )


def unwritten(notes: Iterable[Note]) -> list[Alarm]:
    """Of this moment: replicas that cannot write their counts."""
    return [
        Alarm(
            key="operation: counts",
            windows=1,
            of=1,
            chance=0.0,
            certain=True,
            words=f"replica {note.replica[:8]} answers, but cannot write what it counts ({note.failing}); "
            f"{note.dropped:,} lines of its capture log are lost",
        )
        for note in notes
    ]
