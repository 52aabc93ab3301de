"""Train a classifier of images on Ray: killed in the middle of an epoch, streamed, on one worker and on two."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_mlops.algorithms.augmentation import Augmentation
from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.contract import ImageFeatures, Trained
from ray_mlops.stages import train
from ray_mlops.stages.train import TrainConfig
from ray_mlops.vision.parts import ImageSource
from tests.small_images import DECISION, a_run, featured
from tests.stages.images.mortal import Mortal

SETTINGS: dict[str, Any] = {
    "widths": (8, 16, 16),
    "epochs": 8,
    "batch_size": 16,  # 79 steps an epoch: four looks at which a checkpoint may be made
    "augment": Augmentation(crop=1, flip=False),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> ImageFeatures:
    return featured(tmp_path_factory.mktemp("images"))


def trained(made: ImageFeatures, root: Path, algorithm: ImageClassifier, **config: Any) -> Trained:
    run = a_run(root, "train")
    return train.run(TrainConfig(**config), run, features=made, decision=DECISION, algorithm=algorithm)


def answers(result: Trained, made: ImageFeatures) -> np.ndarray:
    images, _ = ImageSource.of(made).read("validation").arrays()
    return ImageClassifier().load(f"{result.uri}/model").predict(images)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_killed_within_an_epoch_ends_as_the_undisturbed_one(
    workers: int, made: ImageFeatures, tmp_path: Path
) -> None:
    config = {"workers": workers, "checkpoint_seconds": 0, "in_process_rows": 0}
    killed = trained(made, tmp_path / "killed", Mortal(diary=str(tmp_path), **SETTINGS), **config)
    assert (tmp_path / "lives").read_text().split() == ["fresh", "resumed"]
    whole = trained(made, tmp_path / "whole", ImageClassifier(**SETTINGS), **config)
    assert killed.metrics == whole.metrics
    assert np.array_equal(answers(killed, made), answers(whole, made))
    assert whole.metrics["accuracy"] > 0.95


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_that_stream_teach_as_much(workers: int, made: ImageFeatures, tmp_path: Path) -> None:
    algorithm = ImageClassifier(**{**SETTINGS, "epochs": 4, "batch_size": 32})
    result = trained(made, tmp_path, algorithm, workers=workers, stream=True)
    assert result.metrics["accuracy"] > 0.9
    assert result.performance["samples_per_second"] > 0
    assert result.performance["data_wait_s"] > 0
