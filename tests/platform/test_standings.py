"""The table of a search that runs: who runs, who leads, who failed."""

from ray_mlops.platform.search import Record
from ray_mlops.platform.standings import COLUMNS, standings


def test_those_that_run_come_first_then_the_best() -> None:
    records = [
        Record(0, {}, [0.1, 0.5], 0.6),
        Record(1, {"rate": 0.123456, "shape": (8,)}, [0.9]),
        Record(2, {"rate": 0.2}, [0.7], 0.8, over=False),
        Record(3, {"rate": 0.3}, [0.3]),
        Record(4, {"rate": 0.4}, [], error="ValueError: no"),
    ]
    assert standings(records, {1}) == [
        ("1", "running", "1", "0.9000", "rate 0.123, shape (8,)"),
        ("2", "paused", "1", "0.8000", "rate 0.2"),
        ("0", "ended", "2", "0.6000", "as it is"),
        ("3", "stopped", "1", "0.3000", "rate 0.3"),
        ("4", "failed", "0", "", "rate 0.4"),
    ]
    assert len(COLUMNS) == 5


def test_a_long_search_shows_a_dozen() -> None:
    assert len(standings([Record(number, {}) for number in range(100)], set())) == 12
