"""Images as arrays: every one in exactly one share, classes mixed, the same from pixels, bytes and a stream's blocks."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_mlops.contract import ImageFeatures
from ray_mlops.errors import DataError
from ray_mlops.vision.features import ImageFeaturesConfig
from ray_mlops.vision.parts import ImageSource, source_of
from ray_mlops.vision.transform import Transform
from tests.small_images import EIGHT, featured


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ImageFeatures:
    return featured(tmp_path_factory.mktemp("pixels"), EIGHT)


@pytest.fixture(scope="module")
def source(made: ImageFeatures) -> ImageSource:
    return ImageSource.of(made)


def test_the_family_of_the_features_decides_the_source(made: ImageFeatures, source: ImageSource) -> None:
    assert source_of(made) == source
    assert source.names == tuple("0123456789")


@pytest.mark.parametrize("size", [1, 2, 7])
def test_each_image_is_in_exactly_one_share_and_classes_are_mixed(size: int, source: ImageSource) -> None:
    shares = [source.read("train", rank, size) for rank in range(size)]
    whole, labels = source.read("train").arrays()
    assert max(share.rows for share in shares) - min(share.rows for share in shares) <= 1
    together = np.concatenate([share.features for share in shares])
    assert sorted(image.tobytes() for image in together) == sorted(image.tobytes() for image in whole)
    assert all(len(set(share.labels.tolist())) == 10 for share in shares)
    assert (whole.dtype, labels.dtype, whole.shape[1:]) == (np.uint8, np.int64, (8, 8, 1))


def test_blocks_of_a_stream_add_up_to_the_split(source: ImageSource) -> None:
    whole, labels = source.read("validation").arrays()
    blocks = [source.part(block.select(list(source.columns))) for block in source.batches("validation", 50)]
    assert sum(block.rows for block in blocks) == len(labels)
    assert sorted(i.tobytes() for block in blocks for i in block.features) == sorted(i.tobytes() for i in whole)


def test_files_and_pixels_give_the_same_arrays(source: ImageSource, tmp_path: Path) -> None:
    config = ImageFeaturesConfig(transform=Transform(size=(8, 8), mode="L"), stored="bytes")
    files = ImageSource.of(featured(tmp_path, config)).read("validation").arrays()
    pixels = source.read("validation").arrays()
    assert all(np.array_equal(one, other) for one, other in zip(files, pixels, strict=True))


def test_a_part_is_ordered_by_key_whatever_the_order_of_its_rows(source: ImageSource) -> None:
    rows = source.rows("validation")
    turned = rows.take(pa.array(np.arange(rows.num_rows)[::-1]))
    assert np.array_equal(source.part(turned).features, source.part(rows).features)


def test_more_workers_than_images_are_refused(source: ImageSource) -> None:
    with pytest.raises(DataError, match="has no validation images. Use fewer workers"):
        source.read("validation", 9_999, 10_000)
