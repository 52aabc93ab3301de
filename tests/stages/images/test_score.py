"""Batch scoring of images: the answers of the model, in this process and on Ray, and nothing lost on the way."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_mlops.contract import ModelVersion
from ray_mlops.errors import DataError
from ray_mlops.platform.bundle import Bundle
from ray_mlops.stages.images.score import BATCH_ROWS, score_images
from ray_mlops.vision.predictor import ImagePredictor
from tests import small_images
from tests.vision.pictures import encoded, noise

FILES = BATCH_ROWS + 9  # more than a batch


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    root = tmp_path_factory.mktemp("digits")
    features = small_images.featured(root)
    trained = small_images.fitted(root, features)
    return small_images.registered(root, features, trained, small_images.judged(root, features, trained))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and, among them, one file that is none."""
    place = tmp_path_factory.mktemp("pictures")
    for number in range(FILES):
        (place / f"{number:03d}.png").write_bytes(encoded(noise(8, 8, 1, seed=number)))
    (place / "005.png").write_bytes(b"broken")
    return place


def test_each_picture_gets_the_answer_of_the_model_and_what_is_none_its_reason(
    ray_session: None, version: ModelVersion, folder: Path, tmp_path: Path
) -> None:
    assert score_images(version, str(folder), str(tmp_path / "made" / "out.parquet")) == FILES
    rows = pq.read_table(tmp_path / "made" / "out.parquet").to_pylist()
    predictor = ImagePredictor.load(Bundle.load(version.uri))
    assert [row["id"] for row in rows] == [f"{number:03d}.png" for number in range(FILES)]
    assert rows[5]["class"] is None and "not an image" in rows[5]["error"]
    for row in rows[:5] + rows[-5:]:
        pixels = predictor.transform.read((folder / row["id"]).read_bytes())
        (best,) = predictor.top(predictor.probabilities(pixels[None])[0], 1)
        assert row["error"] is None and row["class"] == best["class"] and row["version"] == version.version
        assert row["probability"] == pytest.approx(best["probability"], abs=1e-5)


def test_ray_gives_the_same_as_this_process(
    ray_session: None, version: ModelVersion, folder: Path, tmp_path: Path
) -> None:
    files = sorted(folder.iterdir())
    packed = pa.table({"image": pa.array([file.read_bytes() for file in files], pa.binary())})
    pq.write_table(packed, tmp_path / "many.parquet", row_group_size=20)  # several pieces
    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"
    assert score_images(version, str(tmp_path / "many.parquet"), str(here)) == FILES
    assert score_images(version, str(tmp_path / "many.parquet"), str(there), here_bytes=0) == FILES
    ours, rays = pq.read_table(here), pq.read_table(there)
    assert ours.drop_columns("probability").equals(rays.drop_columns("probability"))
    assert ours["probability"].null_count == rays["probability"].null_count == 1
    assert ours["probability"].to_pylist() == pytest.approx(rays["probability"].to_pylist(), abs=1e-5)


def test_a_folder_without_pictures_is_refused_and_nothing_written(
    ray_session: None, version: ModelVersion, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file"):
        score_images(version, str(tmp_path / "empty"), str(tmp_path / "out.parquet"))
    assert not (tmp_path / "out.parquet").exists()
