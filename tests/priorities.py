"""Which priority the processes of a cluster have."""

import os
from pathlib import Path


def behind(mark: str, *names: str) -> dict[str, int]:
    """The niceness above the usual one of the processes with such a word in their environment, and of any of their threads,
    by the start of their names; raises `AssertionError` where one of these names is none's."""
    found: dict[str, list[int]] = {name: [] for name in names}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (name := _name(entry, mark, names)):
            found[name] += [_niceness(thread) for thread in (entry / "task").iterdir()]
    assert all(found.values()), f"not all of {names} are there: {found}"
    return {name: max(levels) for name, levels in found.items() if max(levels) > 0}


def _name(process: Path, mark: str, names: tuple[str, ...]) -> str | None:
    try:
        title = (process / "cmdline").read_bytes().decode(errors="replace")
        marked = mark.encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended
        return None
    return next((name for name in names if title.startswith(name) and marked), None)


def _niceness(thread: Path) -> int:
    try:
        return os.getpriority(os.PRIO_PROCESS, int(thread.name))
    except ProcessLookupError:
        return 0
