"""The feature table of images: each labelled image once, split by class, nothing tied on two sides."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ray_mlops.errors import ConfigError, DataError
from ray_mlops.platform import tables
from ray_mlops.stages.images import features
from ray_mlops.vision.features import ImageFeaturesConfig
from ray_mlops.vision.parts import ImageSource
from ray_mlops.vision.split import Split
from ray_mlops.vision.transform import Transform
from tests import small_images
from tests.small_images import EIGHT, SCHEMA, a_run, clean_table


def test_each_image_is_in_one_part_with_its_class(tmp_path: Path) -> None:
    made = small_images.featured(tmp_path)
    assert sum(made.rows.values()) == 1_797 and made.classes == tuple("0123456789")
    rows = tables.load(made.table)
    assert len(set(rows["id"].to_pylist())) == 1_797
    labels = dict(zip(*(small_images.digits()[name].to_pylist() for name in ("id", "label")), strict=True))
    assert all(
        labels[key] == made.classes[place]
        for key, place in zip(*(rows[n].to_pylist() for n in ("id", "target")), strict=True)
    )
    for part, counts in made.labelled.items():
        shares = np.array(list(counts.values())) / made.rows[part]
        assert abs(shares - 0.1).max() < 0.01
    assert Transform.model_validate(json.loads(Path(made.transform).read_text())) == EIGHT.transform


def test_pixels_and_files_give_the_same_arrays_in_any_number_of_shares(tmp_path: Path) -> None:
    pixels = ImageSource.of(small_images.featured(tmp_path / "a"))
    stored = ImageSource.of(small_images.featured(tmp_path / "b", EIGHT.model_copy(update={"stored": "bytes"})))
    for part in ("train", "validation", "test"):
        one, other = pixels.read(part).arrays(), stored.read(part).arrays()
        assert (one[0] == other[0]).all() and (one[1] == other[1]).all()
    shares = [pixels.read("train", rank, 3) for rank in range(3)]
    assert sum(share.rows for share in shares) == pixels.read("train").rows
    assert max(share.rows for share in shares) - min(share.rows for share in shares) <= 1


def test_a_given_test_set_is_kept_and_unlabelled_images_are_left_out(tmp_path: Path) -> None:
    def spoil(table: pa.Table) -> pa.Table:
        label = pc.if_else(pc.equal(table["id"], "digits/0003"), pa.scalar(None, pa.string()), table["label"])
        return table.set_column(table.column_names.index("label"), "label", label)

    config = EIGHT.model_copy(update={"split": Split(test_keys="digits/17")})
    made = features.run(config, a_run(tmp_path, "features"), table=clean_table(tmp_path, spoil))
    rows = tables.load(made.table)
    assert rows.num_rows == 1_796
    test = rows.filter(pc.equal(rows["split"], "test"))["id"].to_pylist()
    assert len(test) == 97 and all(key.startswith("digits/17") for key in test)


def test_what_is_tied_by_group_or_as_duplicates_stays_in_one_part(tmp_path: Path) -> None:
    """Half of the digits in groups of three; every second group has a duplicate in the one after it."""
    keys = small_images.digits()["id"].to_pylist()
    twins = list(keys)
    for row in range(2, 900, 6):
        twins[row + 1] = twins[row]

    def tie(table: pa.Table) -> pa.Table:
        group = pa.array([f"writer {row // 3}" if row < 900 else None for row in range(len(keys))])
        table = table.set_column(table.column_names.index("group"), "group", group)
        return table.append_column("twins", pa.array(twins))

    made = features.run(EIGHT, a_run(tmp_path, "features"), table=clean_table(tmp_path, tie))
    rows = tables.load(made.table)
    part = dict(zip(rows["id"].to_pylist(), rows["split"].to_pylist(), strict=True))
    assert len(part) == len(keys)
    tied = [{part[key] for key in keys[row : row + 6]} for row in range(0, 900, 6)]
    assert [parts for parts in tied if len(parts) > 1] == []
    assert set.union(*tied) == {"train", "validation", "test"}


@pytest.mark.usefixtures("ray_session")
def test_on_ray_the_table_is_the_same_snapshot(tmp_path: Path) -> None:
    table = clean_table(tmp_path)
    here = features.run(EIGHT, a_run(tmp_path, "here"), table=table)
    there = features.run(EIGHT.model_copy(update={"in_process_rows": 0}), a_run(tmp_path, "ray"), table=table)
    assert there.table.snapshot == here.table.snapshot and there.rows == here.rows


def test_what_cannot_be_learnt_is_said(tmp_path: Path) -> None:
    def only(*labels: str) -> pa.Table:
        return small_images.digits().filter(pc.is_in(small_images.digits()["label"], value_set=pa.array(labels)))

    one = clean_table(tmp_path / "one", lambda table: only("3"))
    with pytest.raises(DataError, match="all labelled images are '3'"):
        features.run(EIGHT, a_run(tmp_path, "f"), table=one)
    few = clean_table(tmp_path / "few", lambda table: pa.concat_tables([only("3"), only("4").slice(0, 2)]))
    with pytest.raises(DataError, match="has no image of 4"):
        features.run(EIGHT, a_run(tmp_path, "f"), table=few)
    colour = ImageFeaturesConfig(transform=Transform(size=(8, 8), mode="RGB"))
    with pytest.raises(ConfigError, match="features.transform.mode is RGB, but the images are read as L"):
        features.run(colour, a_run(tmp_path, "f"), table=clean_table(tmp_path / "two"))
    assert SCHEMA.mode == "L"
