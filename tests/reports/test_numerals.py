from datetime import UTC, date, datetime

import numpy as np
import pytest

from ray_mlops.reports.numerals import is_figure, percent, seconds, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (np.float32("nan"), "–"),
        (float("inf"), "inf"),
        (True, "yes"),
        (np.int64(1_754_155), "1,754,155"),
        (0.0, "0"),
        (0.123456, "0.1235"),
        (0.0000123456, "1.235e-05"),
        (12345.678, "12,346"),
        (np.float32(0.5), "0.5"),
        ("text", "text"),
        (("a", 1), "a, 1"),
        ((), "–"),
        (date(2024, 2, 1), "2024-02-01"),
        (datetime(2024, 2, 1, 3, 4, 5, tzinfo=UTC), "2024-02-01 03:04:05"),
    ],
)
def test_values_in_words(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (65, "1 min 05 s"), (7600, "2 h 06 min")]
)
def test_durations(value, text):
    assert seconds(value) == text


def test_percentages():
    assert percent(0.00837, 3) == "0.837 %"


@pytest.mark.parametrize(
    ("value", "figure"),
    [(1, True), (0.5, True), (True, False), ("1.5 %", True), ("about 1,000", True), ("x 1", False), ("–", True)],
)
def test_what_is_set_as_a_number(value, figure):
    assert is_figure(value) is figure
