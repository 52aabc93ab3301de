"""Train a classifier of images on Ray: killed in the middle of an epoch, streamed, on one worker and on two."""

import json
import signal
import subprocess
import sys
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
STREAMED = {**SETTINGS, "epochs": 4, "batch_size": 32}  # each epoch starts Ray Data anew: two looks in it
NOT_GIVEN = {"kind", "diary", "victim"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> ImageFeatures:
    return featured(tmp_path_factory.mktemp("images"))


def trained(made: ImageFeatures, root: Path, algorithm: ImageClassifier, **config: Any) -> Trained:
    run = a_run(root, "train")
    return train.run(TrainConfig(**config), run, features=made, decision=DECISION, algorithm=algorithm)


def answers(result: Trained, made: ImageFeatures) -> np.ndarray:
    images, _ = ImageSource.of(made).read("validation").arrays()
    return ImageClassifier().load(f"{result.uri}/model").predict(images)


@pytest.mark.parametrize(("workers", "stream"), [(1, False), (2, False), (2, True)])
def test_a_worker_killed_within_an_epoch_ends_as_the_undisturbed_one(
    workers: int, stream: bool, made: ImageFeatures, tmp_path: Path
) -> None:
    config = {"workers": workers, "stream": stream, "checkpoint_seconds": 0, "in_process_rows": 0}
    settings = STREAMED if stream else SETTINGS
    killed = trained(made, tmp_path / "killed", Mortal(diary=str(tmp_path), **settings), **config)
    assert (tmp_path / "lives").read_text().split() == ["fresh", "resumed"]
    whole = trained(made, tmp_path / "whole", ImageClassifier(**settings), **config)
    assert killed.metrics == whole.metrics
    assert np.array_equal(answers(killed, made), answers(whole, made))
    assert whole.metrics["accuracy"] > (0.9 if stream else 0.95)


@pytest.mark.parametrize(
    "config",
    [{"checkpoint_seconds": 0}, {"checkpoint_seconds": 0, "in_process_rows": 0, "workers": 2}],
    ids=["in its process", "on two workers"],
)
def test_a_command_killed_within_an_epoch_goes_on_when_it_is_run_again(
    config: dict[str, Any], made: ImageFeatures, tmp_path: Path
) -> None:
    """With the command goes the fit in its process, which no controller replaces, or the controller of its workers."""
    (tmp_path / "features.json").write_text(made.model_dump_json())
    mortal, place = Mortal(diary=str(tmp_path), **SETTINGS), tmp_path / "killed"
    settings = mortal.model_dump_json(exclude=NOT_GIVEN)
    given = [str(tmp_path / "features.json"), str(tmp_path), str(place), settings, json.dumps(config)]
    killed = subprocess.run([sys.executable, "-m", "tests.stages.images.mortal", *given], check=False, timeout=200)
    assert killed.returncode == -signal.SIGKILL
    again = trained(made, place, mortal, **config)
    assert (tmp_path / "lives").read_text().split() == ["fresh", "resumed"]
    whole = trained(made, tmp_path / "whole", ImageClassifier(**SETTINGS), **config)
    assert again.metrics == whole.metrics
    assert np.array_equal(answers(again, made), answers(whole, made))


def test_rows_that_stream_teach_as_much(made: ImageFeatures, tmp_path: Path) -> None:
    """On one worker; above, on two."""
    result = trained(made, tmp_path, ImageClassifier(**STREAMED), stream=True)
    assert result.metrics["accuracy"] > 0.9
    assert result.performance["samples_per_second"] > 0
    assert result.performance["data_wait_s"] > 0
