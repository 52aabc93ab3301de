"""Evaluation of a classifier of images: the same rows here and on Ray, against a champion, with its page."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ray_mlops.contract import ImageFeatures, ModelVersion, Trained
from ray_mlops.stages.images import evaluate
from ray_mlops.vision.features import ImageFeaturesConfig
from ray_mlops.vision.transform import Transform
from tests import small_images
from tests.small_images import Centroids


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ImageFeatures, Trained]:
    root = tmp_path_factory.mktemp("digits")
    features = small_images.featured(root)
    return root, features, small_images.fitted(root, features)


def test_figures_are_those_of_the_scored_test_rows(made: tuple[Path, ImageFeatures, Trained]) -> None:
    root, features, trained = made
    evaluation = small_images.judged(root, features, trained)
    scores = pq.read_table(Path(evaluation.uri) / "scores.parquet").to_pandas()
    assert len(scores) == features.rows["validation"] + features.rows["test"]
    test = scores[scores["split"] == "test"]
    assert evaluation.metrics["accuracy"] == pytest.approx((test["class"] == test["label"]).mean())
    assert 0.85 < evaluation.metrics["accuracy"] < 0.97
    details = json.loads(Path(evaluation.details).read_text())
    assert details["accuracy"]["low"] < evaluation.metrics["accuracy"] < details["accuracy"]["high"]
    assert np.array(details["confusion"]).sum() == features.rows["test"]
    assert details["figures"]["ece"] < details["ece_before"]
    assert {row["kind"] for row in details["robustness"]} == {"as it is", "brightness", "blur", "jpeg"}
    page = Path(evaluation.report).read_text()
    assert page.count("data:image/png;base64,") > 10 and "why " in page


def test_a_champion_is_compared_on_the_same_rows(made: tuple[Path, ImageFeatures, Trained], tmp_path: Path) -> None:
    root, features, trained = made
    champion = _version(tmp_path, features, trained)
    same = small_images.judged(root, features, trained, champion)
    assert same.metrics["gain_over_champion"] == 0.0
    assert json.loads(Path(same.details).read_text())["champion"]


def test_a_champion_with_another_transform_reads_the_files_anew(
    made: tuple[Path, ImageFeatures, Trained], tmp_path: Path
) -> None:
    root, features, trained = made
    larger = small_images.featured(tmp_path, ImageFeaturesConfig(transform=Transform(size=(12, 12), mode="L")))
    champion = _version(tmp_path, larger, small_images.fitted(tmp_path, larger, Centroids(), "other"))
    found = small_images.judged(root, features, trained, champion)
    assert abs(found.metrics["gain_over_champion"]) < 0.05
    assert json.loads(Path(found.details).read_text())["champion"]


def test_a_champion_of_other_classes_is_not_compared_and_that_is_said(
    made: tuple[Path, ImageFeatures, Trained], tmp_path: Path
) -> None:
    root, features, trained = made
    renamed = features.model_copy(update={"classes": tuple(f"digit {name}" for name in features.classes)})
    found = small_images.judged(root, features, trained, _version(tmp_path, renamed, trained))
    details = json.loads(Path(found.details).read_text())
    assert not details["champion"] and "other classes" in details["notes"][0]
    assert "other classes" in Path(found.report).read_text()


def _version(root: Path, features: ImageFeatures, trained: Trained) -> ModelVersion:
    return small_images.registered(root, features, trained, small_images.judged(root, features, trained))


@pytest.mark.usefixtures("ray_session")
def test_on_ray_the_scores_are_the_same(made: tuple[Path, ImageFeatures, Trained]) -> None:
    root, features, trained = made
    found = {}
    for where, most in (("here", 20_000), ("ray", 0)):
        evaluation = evaluate.run(
            small_images.FAST.model_copy(update={"in_process_rows": most}),
            small_images.a_run(root, where),
            features=features,
            trained=trained,
            decision=small_images.DECISION,
            algorithm=small_images.QUICK,
        )
        found[where] = pq.read_table(Path(evaluation.uri) / "scores.parquet")
    assert found["here"].equals(found["ray"])
