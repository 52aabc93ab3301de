"""The terminal: a table below the bar while a search runs, and what a fit's line says."""

import time
import weakref

import pytest
from rich.console import Console

from ray_mlops.console import StageLines, stoppable, summary
from ray_mlops.contract import Trained
from ray_mlops.live_table import LiveTable


def test_a_table_is_drawn_below_the_bar() -> None:
    lines = StageLines()
    lines._bar = bar = LiveTable()
    bar.add_task("tune", total=None)
    lines.show(("trial", "value"), [("0", "0.5123")])
    console = Console(width=60)
    with console.capture() as capture:
        for piece in bar.get_renderables():
            console.print(piece)
    shown = capture.get()
    assert "tune" in shown
    assert shown.index("tune") < shown.index("trial") < shown.index("0.5123")


def test_a_table_without_a_terminal_goes_nowhere() -> None:
    StageLines().show(("trial",), [("0",)])


def test_the_line_of_a_fit_tells_how_fast_it_was() -> None:
    made = {"uri": "", "fingerprint": "", "algorithm": {"kind": "mlp"}, "metrics": {}, "workers": 2, "rows": 9}
    assert summary(Trained(**made)) == "mlp on 2 worker(s)"
    assert summary(Trained(**made, performance={"samples_per_second": 1234.5})) == "mlp on 2 worker(s), 1,234 rows/s"


def test_ctrl_c_that_a_callback_swallows_comes_again() -> None:
    class Locked:
        """What an import lock is: its end calls back."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    lock = Locked()
    watched = weakref.ref(lock, interrupted)
    with pytest.raises(KeyboardInterrupt), stoppable():
        del lock
        assert watched() is None
        time.sleep(30)
