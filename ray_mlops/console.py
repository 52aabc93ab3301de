"""What the terminal shows: one line a stage, a bar while it works, tables for lists, errors in one sentence."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from ray_mlops.live_table import LiveTable
    from ray_mlops.platform.store import Record

_AGAIN_S = 0.1


def complain(message: str) -> None:
    """Write an error to standard error."""
    print(f"ray-mlops: {message}", file=sys.stderr, flush=True)


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM stops a command as Ctrl-C does, so that a job's stop cleans up as well.

    Ctrl-C that comes while Python calls back (a weak reference, an import that ends) is swallowed there: it comes again.
    """

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def ignored(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)
            return
        again.append(threading.Timer(_AGAIN_S, os.kill, (os.getpid(), signal.SIGTERM)))
        again[-1].start()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, hook = signal.signal(signal.SIGTERM, stop), sys.unraisablehook
    again: list[threading.Timer] = []
    sys.unraisablehook = ignored
    try:
        yield
    finally:
        for timer in again:
            timer.cancel()
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


class StageLines:
    """One line a stage; on a terminal a bar while it works. When verbose, also a line as each stage begins."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._bar: LiveTable | None = None
        self._stage = ""

    def started(self, stage: str) -> None:
        """Note the stage that begins; show a running clock on a terminal."""
        self._stage = stage
        if self._verbose:
            print(f"{stage} begins", flush=True)
        elif sys.stdout.isatty():
            from ray_mlops.live_table import LiveTable

            self._bar = LiveTable()
            self._bar.start()
            self._bar.add_task(stage, total=None)

    def progress(self, done: int, total: int, unit: str, /) -> None:
        """A `contract.Progress` that moves the bar of the stage."""
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=done, total=total or None, description=f"{self._stage} ({unit})"
            )

    def show(self, columns: Sequence[str], rows: Sequence[Sequence[str]], /) -> None:
        """A `contract.Show` that draws the table below the bar."""
        if self._bar is not None:
            self._bar.table = _table(columns, rows)

    def close(self) -> None:
        """Take the bar down; safe to call at any time."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def finished(self, record: "Record") -> None:
        """Print the line of a finished stage."""
        self.close()
        rows = getattr(record.artifact, "rows", None)
        count = f"{rows:>12,} rows" if isinstance(rows, int) else " " * 17
        took = "reused" if record.status == "reused" else f"{record.seconds:.1f} s"
        print(f"{record.stage:<9} {count}  {took:>8}  {summary(record.artifact)}".rstrip(), flush=True)


_HEADLINES = ("average_precision", "roc_auc", "accuracy", "macro_f1")


def summary(artifact: Any) -> str:
    """What a person wants to know of an artifact, in half a line."""
    kind = type(artifact).__name__
    if kind == "CleanTable":
        return f"{artifact.quarantined:,} quarantined"
    if kind == "CleanImages":
        return f"{artifact.quarantined:,} quarantined, {artifact.twins:,} duplicates"
    if kind in ("Table", "ImageTable"):
        return f"snapshot {artifact.snapshot}"
    if kind == "Profile":
        return f"{artifact.positives:,} positives" + (f", leaks: {', '.join(artifact.leaks)}" if artifact.leaks else "")
    if kind == "ImageProfile":
        return f"{len(artifact.classes)} classes, {len(artifact.doubtful)} labels in doubt"
    if kind == "Decision":
        return f"{artifact.verdict}: {artifact.reasons[0]}"
    if kind in ("Features", "ImageFeatures"):
        return ", ".join(f"{part} {rows:,}" for part, rows in artifact.rows.items())
    if kind == "Trials":
        return f"{artifact.trials} trials, best {artifact.value:.4f}" if artifact.trials else "no search"
    if kind == "Trained":
        rate = artifact.performance.get("samples_per_second")
        pace = f", {rate:,.0f} rows/s" if rate else ""
        return f"{artifact.algorithm['kind']} on {artifact.workers} worker(s){pace}"
    if kind == "Evaluation":
        names = [name for name in _HEADLINES if name in artifact.metrics]
        return ", ".join(f"{name} {artifact.metrics[name]:.4f}" for name in names)
    if kind == "ModelVersion":
        return f"{artifact.name}/{artifact.version} {' '.join(artifact.aliases)} {artifact.digest[:12]}"
    if kind == "Endpoint":
        return f"{artifact.url}/{artifact.route}"
    return f"{artifact.status}, {artifact.requests:,} requests"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their column names."""
    from rich.console import Console

    Console().print(_table(columns, rows))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def print_runs(values: Sequence[Mapping[str, Any]]) -> None:
    """Print recorded runs."""
    if not values:
        print("no runs yet: `ray-mlops run fraud` makes the first")
        return
    rows = []
    for value in values:
        last = value["stages"][-1]["stage"] if value["stages"] else "-"
        seconds = sum(stage["seconds"] for stage in value["stages"] if stage["status"] == "done")
        rows.append((value["id"], value["recipe"], value["status"], last, f"{seconds:.1f} s", value["error"][:80]))
    print_table(("run", "recipe", "status", "last stage", "time", "error"), rows)
