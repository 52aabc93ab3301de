"""Slices cut rows into parts that people can name."""

import numpy as np
import pyarrow as pa

from ray_mlops.fraud.slices import MOST_VALUES, Slicing, by_amount, by_novelty, by_time, by_value


def counted(slicing: Slicing) -> dict[str, int]:
    return {value: int(rows.sum()) for value, rows in slicing.parts()}


def test_amounts_are_cut_at_quartiles_and_the_last_twentieth() -> None:
    assert list(counted(by_amount(np.arange(1.0, 101.0))).values()) == [25, 25, 25, 20, 5]


def test_equal_amounts_are_one_slice_and_of_no_use() -> None:
    assert not by_amount(np.full(10, 7.0)).useful


def test_time_is_read_on_the_wall_clock() -> None:
    saturday_evening = 1_718_490_600_000_000  # 2024-06-15 22:30 UTC
    hour, day = by_time(np.array([saturday_evening]), "UTC")
    assert (counted(hour), counted(day)) == ({"18-23 h": 1}, {"weekend": 1})
    hour, day = by_time(np.array([saturday_evening]), "Asia/Tokyo")
    assert (counted(hour), counted(day)) == ({"06-11 h": 1}, {"weekend": 1})


def test_new_entities_are_told_from_known_ones_and_missing_ones_from_both() -> None:
    found = by_novelty("card", pa.chunked_array([[1, 2, None, 2]]), pa.array([2, 3]))
    assert counted(found) == {"new": 1, "seen in train": 2}


def test_the_most_frequent_values_are_kept_whatever_the_order() -> None:
    values = [f"v{i:02}" for i in range(MOST_VALUES + 5) for _ in range(i + 1)]
    one, other = (by_value("shop", pa.chunked_array([column])) for column in (values, values[::-1]))
    assert list(one.values) == list(other.values)
    assert len(one.values) == MOST_VALUES
    assert counted(one)["v16"] == 17
    assert "v00" not in counted(one)


def test_numbers_of_many_values_are_cut_into_quarters() -> None:
    found = by_value("age", pa.chunked_array([[*range(1, 101), None]]))
    assert counted(found) == {"up to 25.75": 25, "25.75 to 50.5": 25, "50.5 to 75.25": 25, "over 75.25": 25}
