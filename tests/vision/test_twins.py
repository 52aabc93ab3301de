"""One picture in several files is one cluster; pictures that only resemble one another are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_mlops.vision import twins
from ray_mlops.vision.decoding import decode
from ray_mlops.vision.perceptual_hash import distances, perceptual_hashes, reduced
from ray_mlops.vision.twins import Twins, near_pairs, sketch
from tests.vision.pictures import encoded, scene

GREY = np.full((4, 192), 100, np.uint8)


def found(pictures: list[np.ndarray], files: list[str] | None = None, bits: int = 4) -> Twins:
    looks = perceptual_hashes(np.concatenate([reduced(pixels[None]) for pixels in pictures]))
    names = np.array(files or [str(number) for number in range(len(pictures))])
    return twins.find(names, looks, np.concatenate([sketch(pixels[None]) for pixels in pictures]), bits=bits)


def test_recompressed_and_equal_files_are_one_cluster() -> None:
    pictures = [scene(96, 128, seed=seed) for seed in range(10)]
    pictures += [decode(encoded(pictures[3], "JPEG", quality=70)), pictures[5], pictures[5]]
    result = found(pictures, [*map(str, range(10)), "a", "5", "5"])
    assert result.cluster[10] == result.cluster[3]
    assert result.cluster[11] == result.cluster[12] == result.cluster[5]
    assert len(set(result.cluster[:10])) == 10
    assert (result.exact, result.near) == (3, 2)


def test_likeness_reaches_by_way_of_others() -> None:
    looks = np.array([0, 0b1111, 0b11111111, -1])
    assert twins.find(np.arange(4), looks, GREY, bits=4).cluster.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("change", [[60], [0, 0, 90]], ids=["light", "colour"])
def test_one_composition_in_another_light_or_colour_is_another_picture(change: list[int]) -> None:
    pixels = scene(64, 64) // 2
    other = (pixels + np.array(change, np.uint8)).astype(np.uint8)
    assert found([pixels, other], bits=10).near == 0


def test_digits_of_one_class_are_no_twins() -> None:
    from sklearn.datasets import load_digits

    images = load_digits().images  # pyright: ignore[reportAttributeAccessIssue]
    result = found([(image * 15).astype(np.uint8)[:, :, None] for image in images])
    assert (result.exact, result.near) == (0, 0)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=12), st.integers(0, 10), st.integers(0, 11))
def test_no_near_pair_is_missed(values: list[int], bits: int, flips: int) -> None:
    values += [value ^ ((1 << flips) - 1) << 13 for value in values]
    looks = np.array(values, np.int64)
    joined = {tuple(sorted(pair)) for pairs in near_pairs(looks, bits) for pair in pairs.tolist()}
    for one in range(len(looks)):
        for other in range(one):
            apart = int(distances(looks[one], looks[other]))
            if 0 < apart <= bits and list(looks).index(looks[one]) == one and list(looks).index(looks[other]) == other:
                assert (other, one) in joined
            if apart > bits:
                assert (other, one) not in joined


def test_many_pictures_are_compared_in_no_time() -> None:
    looks = np.random.default_rng(0).integers(-(2**63), 2**63, 50_000)
    looks[1] = looks[0] ^ 0b1011
    pairs = np.concatenate([part for part in near_pairs(looks, 4)])
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(0, 1)}


def test_a_cluster_is_named_and_listed_by_its_keys() -> None:
    cluster, keys = np.array([0, 1, 0, 2, 2, 2]), np.array(list("fbcaed"), object)
    assert twins.named(cluster, keys).tolist() == list("cbcaaa")
    labels = np.array(["x", "x", None, "y", "y", "x"], object)
    assert twins.listed(cluster, keys, labels) == [{"a": "y", "d": "x", "e": "y"}, {"c": None, "f": "x"}]
    assert twins.listed(np.arange(0), np.empty(0, object), np.empty(0, object)) == []
