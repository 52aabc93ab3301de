"""The split of images: shares by class, seeded, and nothing tied ever on two sides."""

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from ray_mlops.vision.split import OUT, PARTS, Split, assign, units

NONE_GIVEN = Split(validation=0.2, test=0.1)


def parts_of(
    labels: np.ndarray, tied: np.ndarray | None = None, split: Split = NONE_GIVEN, seed: int = 0
) -> np.ndarray:
    ties = np.arange(len(labels)) if tied is None else tied
    return assign(labels, ties, split, seed=seed, given=np.zeros(len(labels), bool))


def test_each_class_keeps_the_shares() -> None:
    labels = np.repeat([0, 1, 2], [100, 200, 50])
    found = parts_of(labels)
    counts = {place: np.bincount(labels[found == place]).tolist() for place in range(3)}
    assert counts == {0: [70, 140, 35], 1: [20, 40, 10], 2: [10, 20, 5]}


def test_a_seed_gives_one_split_and_another_seed_another() -> None:
    labels = np.arange(300) % 3
    assert (parts_of(labels) == parts_of(labels)).all()
    assert (parts_of(labels) != parts_of(labels, seed=1)).any()


def test_a_rare_class_is_in_every_part() -> None:
    labels = np.repeat([0, 1], [500, 3])
    assert sorted(parts_of(labels)[labels == 1]) == [0, 1, 2]


def test_ties_hold_by_way_of_others() -> None:
    groups = np.array(["a", "a", None, "b", None, None], object)
    twins = np.array(["1", "2", "2", "3", "4", None], object)
    found = units(groups, twins)
    assert found[0] == found[1] == found[2]
    assert len(set(found.tolist())) == 4


@examples(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=30, max_size=120), st.integers(0, 1000))
def test_no_tie_crosses_the_split(rows: list[tuple[int, int]], seed: int) -> None:
    labels, tied = (np.array(column) for column in zip(*rows, strict=True))
    found = parts_of(labels, tied, seed=seed)
    assert set(found.tolist()) <= {0, 1, 2}
    assert all(len(set(found[tied == tie].tolist())) == 1 for tie in set(tied.tolist()))


def test_groups_fill_the_parts_about_as_far_as_single_rows() -> None:
    labels, tied = np.tile([0, 1], 500), np.repeat(np.arange(100), 10)
    shares = np.bincount(parts_of(labels, tied)) / len(labels)
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.02)


def test_a_test_set_that_came_with_the_data_is_kept_and_its_twins_are_left_out() -> None:
    labels = np.tile([0, 1], 50)
    given = np.arange(100) >= 80
    tied = np.arange(100)
    tied[3] = tied[90]  # a training image that is also in the test set
    found = assign(labels, tied, NONE_GIVEN, seed=0, given=given)
    assert (found[given] == PARTS.index("test")).all()
    assert found[3] == OUT
    assert (found[~given] != PARTS.index("test")).all()
    assert (found == 1).sum() == pytest.approx(0.2 * 79, abs=1)


def test_shares_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing to train on"):
        Split(validation=0.6, test=0.4)
